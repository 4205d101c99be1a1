#!/bin/bash
# demo.sh: moves a running guest between two hosts, to be watched.
#
# Builds nothing (see autogen.sh); DROVER_BUILDDIR says where droverd is.  All
# of it happens in a lab (tests/lab/lab.sh) that is gone afterwards.
set -uo pipefail

here=$(dirname "$(readlink -f "$0")")
directory=$(mktemp -d /tmp/drover-demo.XXXXXX)
trap 'rm -rf "$directory"' EXIT

echo "== starting a broker and two hosts, each with its own libvirtd"
"$here/../lab/lab.sh" run "$directory/lab" -- \
    /usr/bin/python3 -B "$here/demo.py" < /dev/null
status=$?
if [ $status != 0 ]; then
    echo "the demo failed; what its parts said last:"
    find "$directory" -name '*.log' -size +0 -exec tail -v -n 15 {} +
fi
exit $status
