#!/usr/bin/env bash
# Study quickstart on the hosts of the TPU my-tpu, one shard of its cells each. Edit it, then call it with
#   start   begins on every host, or goes on from what was saved, and returns at once
#   look    shows the last lines of every host's log
#   stop    has every host save its state and end
# Every host needs tlx, its environment and the config in the folder below, and must see the work folder, such as one on
# Filestore: it holds the records, and tells the shards of one another. When hosts were lost, start it on new ones.
set -euo pipefail

on_every_host() {
    gcloud compute tpus tpu-vm ssh my-tpu --zone=us-central2-b --worker=all --command="$1"
}

# From here to the last HOST is what the hosts do. Which shard is a host's follows from its number in the slice.
read -r -d '' who <<'HOST' || true
set -eu
ask() {
    curl -sSf -H 'Metadata-Flavor: Google' "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}
cd tlx
worker=$(ask agent-worker-number)
log=quickstart-$worker.log
pid=quickstart-$worker.pid
HOST

read -r -d '' start <<'HOST' || true
hosts=$(ask worker-network-endpoints | tr ',' '\n' | grep -c .)
if [ "$hosts" -ne 4 ]; then
    echo "this TPU has $hosts hosts, but the study 4 shards: launch it with --shards $hosts" >&2
    exit 2
fi
if [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; then
    echo "host $worker is at work already"
    exit 0
fi
# A host of a slice would wait for the others: here each is on its own, with the chips it has itself.
export TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=2,2,1 TPU_VISIBLE_CHIPS=0,1,2,3
nohup .venv/bin/tlx run configs/quickstart.py --shard "$((worker + 1))/4" --workdir workdir/quickstart >>"$log" 2>&1 </dev/null &
echo $! >"$pid"
echo "host $worker: shard $((worker + 1))/4 begun"
HOST

read -r -d '' look <<'HOST' || true
tail -n 5 "$log" | sed "s/^/host $worker: /"
HOST

read -r -d '' stop <<'HOST' || true
if kill -TERM "$(cat "$pid")" 2>/dev/null; then
    echo "host $worker: told to save and end"
else
    echo "host $worker: nothing is running"
fi
HOST

case "${1:-}" in
    start) on_every_host "$who"$'\n'"$start" ;;
    look) on_every_host "$who"$'\n'"$look" ;;
    stop) on_every_host "$who"$'\n'"$stop" ;;
    *)
        echo "usage: bash $0 start|look|stop" >&2
        exit 2
        ;;
esac
