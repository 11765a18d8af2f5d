#!/usr/bin/env bash
# Every test: rooms whose tests take no notice of each other on all processors at once, then the rest one after the other, since
# they watch clocks, screens and live video. A folder that is not named here is of the rest. $BIN: the environment's programs.
set -uo pipefail
together=(tests/archive tests/chart tests/consult tests/contracts tests/dicom tests/gateway tests/imaging tests/ingest tests/platform tests/test_house.py)
nothing_chosen=5

status=0
run() {
  "$BIN/python" -m pytest "$@"
  local code=$?
  if [ $code -ne 0 ] && [ $code -ne $nothing_chosen ]; then status=$code; fi
}
run -n auto --dist loadfile "$@" "${together[@]}"
run "${together[@]/#/--ignore=}" "$@"
exit $status
