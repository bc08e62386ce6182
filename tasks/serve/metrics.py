"""What Prometheus reads at /metrics. Adapter of prometheus_client.

retune_requests_total and retune_request_seconds count requests by route and status; all else is read from the engines
when somebody asks, so an answer costs no bookkeeping.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from retune.serving.answers import ServedVersion
from retune.serving.encoder_engine import EncoderEngine
from retune.serving.live_version import LiveVersion

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class RequestMetrics:
    """Of one server; each has a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("retune_requests", "Requests.", ["route", "status"], registry=self.registry)
        self._seconds = Histogram(
            "retune_request_seconds", "Time of a request.", ["route"], registry=self.registry, buckets=SECONDS
        )
        self._answers = Counter(
            "retune_answers", "Texts answered.", ["model", "version", "arm", "route"], registry=self.registry
        )

    def observe(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, served: ServedVersion, arm: str, routes: Iterable[str]) -> None:
        for route in routes:
            self._answers.labels(served.name, served.version, arm, route).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


class EngineMetrics(Collector):
    """The state of the versions that are loaded now."""

    def __init__(self, models: Iterable[LiveVersion]) -> None:
        self._models = list(models)

    def collect(self) -> Iterator[Any]:
        info = GaugeMetricFamily("retune_version_info", "Loaded.", labels=["model", "version", "seal"])
        waiting = GaugeMetricFamily("retune_queue_texts", "Texts that wait.", labels=["model"])
        cached = GaugeMetricFamily("retune_cache_answers", "Answers kept.", labels=["model"])
        hits = CounterMetricFamily("retune_cache_hits", "Texts answered by the cache.", labels=["model", "version"])
        misses = CounterMetricFamily("retune_cache_misses", "Texts that were read.", labels=["model", "version"])
        batches = CounterMetricFamily("retune_batches", "Batches read.", labels=["model", "version"])
        tokens = CounterMetricFamily("retune_batch_tokens", "Tokens read, padded.", labels=["model", "version"])
        busy = CounterMetricFamily("retune_engine_seconds", "Time spent reading.", labels=["model", "version"])
        swaps = CounterMetricFamily("retune_swaps", "Versions that took over.", labels=["model"])
        failures = CounterMetricFamily("retune_swap_failures", "Failed take-overs.", labels=["model"])
        for live in self._models:
            engine, served = live.engine, live.served
            model, version = [served.name], [served.name, served.version]
            info.add_metric([*version, served.seal], 1)
            swaps.add_metric(model, live.swaps)
            failures.add_metric(model, live.failures)
            if not isinstance(engine, EncoderEngine):
                continue
            waiting.add_metric(model, engine.waiting)
            cached.add_metric(model, len(engine.cache))
            hits.add_metric(version, engine.cache.hits)
            misses.add_metric(version, engine.cache.misses)
            batches.add_metric(version, engine.counts.batches)
            tokens.add_metric(version, engine.counts.tokens)
            busy.add_metric(version, engine.counts.seconds)
        yield from (info, waiting, cached, hits, misses, batches, tokens, busy, swaps, failures)


class LogMetrics(Collector):
    """How far the log of what is served has come."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def collect(self) -> Iterator[Any]:
        yield GaugeMetricFamily("retune_log_waiting_rows", "Rows to be written.", value=self._log.waiting)
        yield CounterMetricFamily("retune_log_written_rows", "Rows in the database.", value=self._log.written)
        yield CounterMetricFamily("retune_log_dropped_rows", "Rows that found no room.", value=self._log.dropped)
