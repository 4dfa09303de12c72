#!/usr/bin/env bash
# Start the cluster that build.sh built, with the Spark operator in it, and wait until it can run an application.
# Prints where its KUBECONFIG lies. Needs root; ends with a sentence where the machine does not allow containers.
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ "$(id -u)" = 0 ] || die "needs root: containers need namespaces and mounts"
bash "$here/build.sh"
if [ -e "$run/pid" ]; then
  if [ -e "$run/ready" ] && kill -0 "$(cat "$run/pid/kubelet")" 2>/dev/null; then echo "$run/admin.kubeconfig"; exit 0; fi
  bash "$here/down.sh" # what a start that failed has left
fi
unshare --mount --pid --net --fork true 2>/dev/null || die "this machine does not allow namespaces (unshare failed); run it on a host or a privileged container"
for tool in ip openssl nsenter; do command -v $tool >/dev/null || die "no $tool (Debian: apt-get install iproute2 openssl util-linux)"; done
! ip link show asgard0 >/dev/null 2>&1 || die "another cluster runs on this machine (interface asgard0); make cluster-down in its checkout"
mkdir -p "$run"/{pki,log,pid,etcd,kubelet,cni,logs}; chmod 755 "$run"; cd "$run"
export LD_LIBRARY_PATH=$built/root/usr/lib/x86_64-linux-gnu
start=$SECONDS; say() { printf '%4d s  %s\n' $((SECONDS - start)) "$*" >&2; }
background() { local name=$1; shift; setsid "$@" >"log/$name.log" 2>&1 </dev/null 9>&- & echo $! >"pid/$name"; }
wait_for() { # seconds, what, command
  local limit=$1 what=$2 i; shift 2
  for ((i = 0; i < limit * 5; i++)); do "$@" >/dev/null 2>&1 && return; sleep .2; done
  tail -n 3 log/*.log >&2 || true
  die "$what was not ready in $limit s; logs in $run/log"
}

# Certificates. RSA, for the Kubernetes client inside spark-submit reads no EC keys.
if [ ! -f pki/done ]; then (
  cd pki
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=asgard-test -keyout ca.key -out ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  openssl genrsa -out sa.key 2048
  sign() { # name, subject, names
    openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" -extfile <(
      echo "extendedKeyUsage=serverAuth,clientAuth"; [ -z "${3-}" ] || echo "subjectAltName=$3")
  }
  sign apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$node"
  sign apiclient /O=system:masters/CN=apiserver-kubelet-client
  sign admin /O=system:masters/CN=admin
  sign controllers /CN=system:kube-controller-manager
  sign scheduler /CN=system:kube-scheduler
  sign proxy /CN=system:kube-proxy
  sign kubelet /O=system:nodes/CN=system:node:node1 "DNS:node1,IP:$node"
  touch done
) >log/pki.log 2>&1; fi
for who in admin controllers scheduler proxy kubelet; do cat >$who.kubeconfig <<K
apiVersion: v1
kind: Config
clusters: [{name: asgard-test, cluster: {server: "https://127.0.0.1:$api", certificate-authority-data: $(base64 -w0 pki/ca.crt)}}]
users: [{name: $who, user: {client-certificate-data: $(base64 -w0 pki/$who.crt), client-key-data: $(base64 -w0 pki/$who.key)}}]
contexts: [{name: asgard-test, context: {cluster: asgard-test, user: $who}}]
current-context: asgard-test
K
done
export KUBECONFIG=$run/admin.kubeconfig
say certificates

# The node's address and its container runtime.
ip link add asgard0 type bridge && ip addr add $node/24 dev asgard0 && ip link set asgard0 up
cat /proc/sys/net/ipv4/ip_forward >ip_forward.before; echo 1 >/proc/sys/net/ipv4/ip_forward
# Without CAP_SYS_RESOURCE an OOM score cannot be lowered, and runc dies of the attempt.
restrict=false; (( 0x$(awk '/^CapEff/{print $2}' /proc/self/status) >> 24 & 1 )) || restrict=true
cat >cni/10-bridge.conflist <<K
{"cniVersion": "0.4.0", "name": "asgard", "plugins": [{"type": "bridge", "bridge": "asgardpods", "isGateway": true, "ipMasq": false,
 "hairpinMode": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/22"}]], "routes": [{"dst": "0.0.0.0/0"}],
 "dataDir": "$run/cni-state"}}]}
K
cat >containerd.toml <<K
version = 2
root = "$run/containerd/root"
state = "$run/containerd/state"
[grpc]
address = "$run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:3"
restrict_oom_score_adj = $restrict
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$built/root/usr/lib/cni"
conf_dir = "$run/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "$built/root/usr/sbin/runc"
SystemdCgroup = false
K
background containerd containerd -c containerd.toml
wait_for 30 containerd ctr version
# Most of a start is the import of the images: beside the rest.
(cd "$repository" && exec "${ASGARD_PYTHON:-.venv/bin/python}" -m deployments.images.build --import pause operator test) >log/images.log 2>&1 9>&- &
images=$!
background etcd etcd --data-dir etcd --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls http://127.0.0.1:12379 \
  --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 --initial-cluster default=http://127.0.0.1:12380 --unsafe-no-fsync
bash "$here/apiserver.sh"
wait_for 120 "the API server" kubectl get --raw /readyz; say "API server ready"
background controllers kube-controller-manager --kubeconfig=controllers.kubeconfig --root-ca-file=pki/ca.crt --service-account-private-key-file=pki/sa.key \
  --use-service-account-credentials --leader-elect=false --cluster-signing-cert-file=pki/ca.crt --cluster-signing-key-file=pki/ca.key
background scheduler kube-scheduler --kubeconfig=scheduler.kubeconfig --leader-elect=false

cat >kubelet.yaml <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
maxPods: 250
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://$run/containerd.sock
clusterDNS: [$node]
clusterDomain: cluster.local
resolvConf: $run/resolv.conf
podLogsDir: $run/logs
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: "50Mi", nodefs.available: "1%", imagefs.available: "1%"}
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $run/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $run/pki/kubelet.crt
tlsPrivateKeyFile: $run/pki/kubelet.key
K
echo "search invalid" >resolv.conf
background kubelet kubelet --config=kubelet.yaml --kubeconfig=kubelet.kubeconfig --root-dir="$run/kubelet" --hostname-override=node1 --node-ip=$node
background proxy kube-proxy --kubeconfig=proxy.kubeconfig --proxy-mode=nftables --hostname-override=node1 --cluster-cidr=10.244.0.0/22 --conntrack-max-per-core=0
cat >Corefile <<K
.:53 {
  bind $node
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $run/admin.kubeconfig asgard-test
  }
}
K
background coredns coredns -conf Corefile
wait_for 90 "the node" sh -c "kubectl get node node1 | grep -qw Ready"; say "node ready"
wait_for 30 "the default service account" kubectl -n default get serviceaccount default

wait $images || { tail -n 20 log/images.log >&2; die "the images could not be built"; }; say "images imported"
kubectl create namespace asgard >/dev/null
# Of the platform's own chart only the rights; what it must be told besides plays no part here.
helm template asgard "$repository/deployments/helm/asgard" -n asgard --kube-version 1.35.4 --show-only templates/rbac.yaml \
  --set image.repository=unused,image.tag=unused,sparkImage.repository=unused,sparkImage.tag=unused \
  --set lake=s3://unused,logBucket=unused,postgres.host=unused,secrets.state=unused,calendar.start=2026-10-05 2>log/rbac.log | kubectl apply -n asgard -f - >>log/rbac.log
# The operator from its own chart, with the rights and requests that deployments/helm gives it.
helm install spark-operator "$built/operator/spark-operator-chart" -n spark-operator --create-namespace \
  --values "$repository/deployments/helm/operator-values.yaml" \
  --set image.registry=localhost,image.repository=spark-operator,image.tag=2.5.1,image.pullPolicy=Never \
  --set 'spark.jobNamespaces={asgard}' --wait --timeout 180s >log/operator.log 2>&1 || { tail -n 5 log/operator.log >&2; die "the Spark operator did not start"; }
touch ready; say "Spark operator ready"
echo "$run/admin.kubeconfig"
