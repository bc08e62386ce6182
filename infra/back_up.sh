#!/bin/sh
# Back up a clone whose services are up: sh infra/back_up.sh FOLDER, in the clone. FOLDER then holds passwords: guard it.
set -eu
umask 077
to=${1:?where to: sh infra/back_up.sh FOLDER}
python=${PYTHON:-.venv/bin/python}
[ -f dvc.yaml ] || { echo "$PWD is no Retune clone: go to the one that is to be backed up" >&2; exit 2; }
if [ -d "$to" ] && [ -n "$(ls -A "$to")" ]; then
  echo "$to holds something already, perhaps a good backup: name a new or an empty folder" >&2
  exit 2
fi
to=$("$python" -c 'import os, sys; print(os.path.realpath(sys.argv[1]))' "$to")    # which need not be there yet
case $to/ in "$(pwd -P)"/*) echo "$to is in the clone itself, and would be backed up with it: name a folder elsewhere" >&2; exit 2 ;; esac
mkdir -p "$to"
if [ -f .retune/services/pgpass ]; then
  programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  export PGPASSFILE="$PWD/.retune/services/pgpass"
  there() { "${programs:+$programs/}psql" --host=127.0.0.1 --port="$(cut -d: -f2 "$PGPASSFILE")" --username=retune --dbname="$1" --command='' >/dev/null 2>&1; }
  for database in prefect mlflow retune; do
    [ "$database" != retune ] || there retune || continue    # services of an earlier release have none yet
    "${programs:+$programs/}pg_dump" --format=custom --host=127.0.0.1 --port="$(cut -d: -f2 "$PGPASSFILE")" \
      --username=retune --file="$to/$database.dump" "$database"
  done
fi
for file in .retune/mlflow.db .retune/serving.db .retune/prefect/prefect.db .retune/services/logins.db; do   # whole, whoever writes
  [ ! -f "$file" ] || "$python" -c 'import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as a, sqlite3.connect(sys.argv[2]) as b: a.backup(b)' "$file" "$to/$(basename "$file")"
done
tar --create --file="$to/state.tar" --exclude='*.db' --exclude='*.db-*' --exclude='.retune/services/postgres*' \
  --exclude='.retune/services/*.log' --exclude='.retune/services/state.json' --exclude='.retune/running' --exclude='.retune/checkpoints' .retune
git bundle create --quiet "$to/clone.bundle" --all    # with the history's tags, the recorded commits, retune/intake
{ git symbolic-ref --quiet --short HEAD || git rev-parse HEAD; } > "$to/head"
cp "$(git rev-parse --git-common-dir)/config" "$to/git.config"    # who signs the history, where `git push` goes
git diff --binary HEAD > "$to/uncommitted.diff"
git ls-files --others --exclude-standard -z |    # data/raw.dvc and dvc.lock among them, before they are committed
  tar --create --null --files-from=- --file="$to/untracked.tar"
[ ! -f .dvc/config.local ] || cp .dvc/config.local "$to/dvc.config.local"    # passwords of the DVC remote
if [ -n "$("$python" -m dvc remote list)" ]; then
  "$python" -m dvc push --quiet --all-commits
else
  tar --create --file="$to/dvc-cache.tar" --ignore-failed-read .dvc/cache    # no remote: the bytes go along
fi
touch "$to/whole"    # comes last: restore.sh takes no backup that broke off
echo "backed up to $to"
