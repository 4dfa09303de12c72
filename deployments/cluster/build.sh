#!/usr/bin/env bash
# Build a real one-node Kubernetes from package registries: etcd, Kubernetes 1.35, CoreDNS, the Spark operator and
# Helm from Go modules, containerd and runc from Debian. Kept by version; does nothing when it is there.
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ "$(id -u)" = 0 ] || die "needs root: containers need namespaces and mounts"
[ "$(uname -s)" = Linux ] || die "needs Linux"
command -v go >/dev/null || die "no Go: install Go 1.25 or newer"
command -v apt-get >/dev/null || die "needs Debian's apt-get for containerd and runc"
command -v gcc >/dev/null || die "no C compiler (Debian: apt-get install gcc libc6-dev)"
mkdir -p "$cache/cluster"
exec 9>"$cache/cluster/build.lock"; flock 9   # a second build waits for the first, then finds it done
[ -e "$built/done" ] && exit 0
mkdir -p "$built/bin" "$built/debs" "$built/root"
start=$SECONDS; say() { printf '%4d s  %s\n' $((SECONDS - start)) "$*"; }

export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly
version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=v1.35.4 -X $version.gitMajor=1 -X $version.gitMinor=35 -X $version.gitTreeState=clean -X $version.gitCommit=module -X $version.buildDate=2026-04-15T00:00:00Z"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
compile() { # folder, output, flags, package; modules are resolved in a copy, so that this tree stays as it is
  cp -r "$here/$1" "$work/$1"
  (cd "$work/$1" && nice -n "${ASGARD_BUILD_NICE:-10}" go build -trimpath -ldflags "$3" -o "$built/bin/$2" "$4")
  say "$2"
}
compile kubernetes kubernetes "$flags" .
for part in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  ln -sfn kubernetes "$built/bin/$part"
done
compile coredns coredns "-s -w" .
compile operator spark-operator "-s -w" github.com/kubeflow/spark-operator/v2/cmd/operator
compile helm helm "-s -w" helm.sh/helm/v3/cmd/helm
module=$(cd "$work/operator" && go list -m -f '{{.Dir}}' github.com/kubeflow/spark-operator/v2)
rm -rf "$built/operator"; mkdir "$built/operator"
cp -r "$module/charts/spark-operator-chart" "$module/entrypoint.sh" "$built/operator/"; chmod -R u+w "$built/operator"

(cd "$built/debs" && apt-get download -q containerd runc containernetworking-plugins libnftnl11 libnftables1 nftables \
  libmnl0 libxtables12 conntrack libnetfilter-conntrack3 libnfnetlink0 mmdebstrap >/dev/null)
for package in "$built"/debs/*.deb; do dpkg -x "$package" "$built/root"; done
gcc -static -Os -s -o "$built/bin/pause" "$repository/deployments/images/pause.c"
touch "$built/done"; say "built in $built"
