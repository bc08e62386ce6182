"""Who served when."""

from retune.documents import tenures

CHECKED = "2026-11-26T09:00:00+00:00"


def test_a_role_lasts_until_another_version_takes_it(lineage_facts):
    first, second = tenures.tenures(lineage_facts.entries, lineage_facts.entries[:2], CHECKED)
    assert (first.role, first.lasted, first.ending) == ("registered", "60 seconds", "until it became champion")
    assert (second.role, second.lasted, second.ending) == ("champion", "53 days", "until tickets/7 took its place")
    *_, last = tenures.tenures(lineage_facts.entries, lineage_facts.entries[2:], CHECKED)
    assert (last.end, last.lasted, last.ending) == ("", "47 hours", "no entry ends it")
    assert tenures.tenures(lineage_facts.entries, lineage_facts.entries[2:], None)[-1].lasted == ""
