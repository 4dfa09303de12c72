#!/usr/bin/env bash
# End the cluster: only what up.sh started, by recorded pid, then its mounts, interfaces, rules, cgroups and files.
set -uo pipefail
. "$(dirname "$0")/env.sh"
cd "$run" 2>/dev/null || { echo "no cluster here"; exit 0; }
export LD_LIBRARY_PATH=$built/root/usr/lib/x86_64-linux-gnu
stop() {
  local name pid i
  for name in "$@"; do
    pid=$(cat "pid/$name" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null
    for ((i = 0; i < 50; i++)); do kill -0 "$pid" 2>/dev/null || break; sleep .1; done
    kill -9 "$pid" 2>/dev/null; rm -f "pid/$name"
  done
}
stop kubelet proxy coredns scheduler controllers
list() { timeout 20 ctr -n k8s.io "$@" 2>/dev/null; }
namespaces=$(for id in $(list containers ls -q); do list containers info "$id"; done | grep -oE 'cni-[0-9a-f]{8}-[0-9a-f-]+' | sort -u)
for id in $(list tasks ls -q); do list tasks kill -s KILL "$id"; list tasks rm -f "$id"; list containers rm "$id"; done >/dev/null
sleep 1
stop apiserver etcd containerd
for shim in $(pgrep -f "containerd-shim-runc-v2 .*-address $run/containerd.sock"); do kill -9 "$shim"; done   # of this cluster only: its socket is named
for mount in $(awk -v r="$run/" 'index($5, r) == 1 {print $5}' /proc/self/mountinfo | sort -r); do umount -l "$mount"; done
nft delete table ip kube-proxy 2>/dev/null; nft delete table ip6 kube-proxy 2>/dev/null
ip link del asgardpods 2>/dev/null; ip link del asgard0 2>/dev/null
for namespace in $namespaces; do ip netns del "$namespace" 2>/dev/null; done
rm -f /var/lib/cni/results/asgard-* /var/lib/cni/results/cni-loopback-*
[ ! -f ip_forward.before ] || cat ip_forward.before >/proc/sys/net/ipv4/ip_forward
find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null
if [ "${1-}" = --keep-images ]; then
  find . -mindepth 1 -maxdepth 1 ! -name containerd -exec rm -rf {} +
else
  cd /; rm -rf "$run"
fi
