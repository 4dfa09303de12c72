# Where the test cluster is built and runs. Sourced by the scripts beside it; one cluster a machine.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd); repository=$(cd "$here/../.." && pwd)
cache=${ASGARD_CACHE:-$HOME/.cache/asgard}
go_version=$(go env GOVERSION 2>/dev/null || echo none)
key=$( (cat "$here"/{kubernetes,coredns,operator,helm}/go.sum "$here"/*/main.go "$here/build.sh"; echo "$go_version") | sha256sum | cut -c1-12)
built=$cache/cluster/$key              # binaries and Debian's containerd: 0.3 GB, kept
run=${ASGARD_CLUSTER_RUN:-$cache/cluster/run}   # state of the running cluster: removed by down.sh
node=10.111.0.1                        # the node, and the host as pods reach it
api=16443
export PATH=$built/bin:$built/root/usr/bin:$built/root/usr/sbin:$PATH
export CONTAINERD_ADDRESS=$run/containerd.sock
die() { printf 'cluster: %s\n' "$*" >&2; exit 1; }
export ASGARD_CLUSTER_BUILT=$built
