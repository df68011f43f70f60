#!/usr/bin/env bash
# Prints the pass rate of every conformance area over the recordings beside the checkout, when they are there.
set -u
cd "$(dirname "$0")/.."
records=../shared
[ -d "$records" ] || { echo "conformance: no recordings beside this checkout"; exit 0; }
app=apps/conformance/dist/main.js
[ -f "$app" ] || exit 0
rate() {
  area=$1
  shift
  printf 'conformance %-14s ' "$area"
  timeout 600 node "$app" "$area" "$@" --quiet 2>&1 | tail -n 1
}
rate api "$records"/golden/api-service.jsonl "$records"/golden/api-generic.jsonl
rate control-plane "$records"/vectors/control-plane-vectors.json
rate controllers "$records"/golden/controllers.jsonl
rate dataplane "$records"/vectors/dataplane-vectors.json
rate proxy "$records"/golden/proxy-nftables.jsonl "$records"/golden/proxy-iptables.jsonl
rate dns "$records"/golden/dns.jsonl "$records"/vectors/dns-vectors.json
rate dns-malformed "$records"/vectors/dns-malformed.json "$records"/golden/dns-malformed-coredns.jsonl
if command -v kubectl >/dev/null; then rate kubectl "$records"/golden/kubectl.jsonl; fi
