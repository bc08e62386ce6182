#!/bin/sh
# Restore a backup into a new folder: sh infra/restore.sh BACKUP FOLDER. Ends with the services up, without a worker.
set -eu
umask 077
from=${1:?from where: sh infra/restore.sh BACKUP FOLDER}
[ -d "$from" ] || { echo "there is no folder $from: name one that infra/back_up.sh has made" >&2; exit 2; }
[ -f "$from/whole" ] || { echo "$from is no backup that ended well: it has no file \`whole\`, which infra/back_up.sh makes last" >&2; exit 2; }
from=$(cd "$from" && pwd)
into=${2:?into which new folder: sh infra/restore.sh BACKUP FOLDER}
python=${PYTHON:?the interpreter to run with: PYTHON=/path/.venv/bin/python sh infra/restore.sh ...}
[ ! -e "$into" ] || { echo "$into is there already: restore into a new folder" >&2; exit 2; }
mkdir -p "$into" && chmod 755 "$into"
into=$(cd "$into" && pwd)
git init --quiet "$into"
cd "$into"
cp "$from/git.config" .git/config
git fetch --quiet --update-head-ok "$from/clone.bundle" '+refs/*:refs/*'
git checkout --quiet --force "$(cat "$from/head")"
[ ! -s "$from/uncommitted.diff" ] || git apply --binary "$from/uncommitted.diff"
tar --extract --file="$from/untracked.tar"
[ ! -f "$from/dvc.config.local" ] || cp "$from/dvc.config.local" .dvc/config.local
(umask 022 && mkdir -p .retune)
tar --extract --file="$from/state.tar"
[ ! -f "$from/dvc-cache.tar" ] || tar --extract --file="$from/dvc-cache.tar"
put() { [ ! -f "$from/$1" ] || { mkdir -p "$(dirname "$2")" && cp "$from/$1" "$2"; }; }
put mlflow.db .retune/mlflow.db
put serving.db .retune/serving.db
put prefect.db .retune/prefect/prefect.db
put logins.db .retune/services/logins.db
export PYTHONPATH="$into${PYTHONPATH:+:$PYTHONPATH}"
if [ -f "$from/mlflow.dump" ]; then
  "$python" -m flows.cli up --database postgres --database-only    # new and empty
  programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  export PGPASSFILE="$PWD/.retune/services/pgpass"
  for database in prefect mlflow retune; do
    [ -f "$from/$database.dump" ] || continue    # a backup of an earlier release lacks what was served
    "${programs:+$programs/}pg_restore" --exit-on-error --no-owner --host=127.0.0.1 \
      --port="$(cut -d: -f2 "$PGPASSFILE")" --username=retune --dbname="$database" "$from/$database.dump"
  done
fi
if [ -f "$from/mlflow.db" ] && [ ! -f "$from/mlflow.dump" ]; then
  "$python" -m flows.cli up --database sqlite --no-worker
else
  "$python" -m flows.cli up --no-worker
fi
if [ -f data/raw.dvc ]; then
  [ -f "$from/dvc-cache.tar" ] || "$python" -m dvc pull --quiet --allow-missing
  "$python" -m dvc checkout --quiet --allow-missing
fi
echo "restored into $into: \`retune history --verify\` compares history and registry"
