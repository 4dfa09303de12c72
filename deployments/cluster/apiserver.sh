#!/usr/bin/env bash
# Start (or start again) the cluster's API server; `apiserver.sh stop` takes it away, as an outage would.
set -euo pipefail
. "$(dirname "$0")/env.sh"; cd "$run"
if [ "${1-}" = stop ]; then
  pid=$(cat pid/apiserver); kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep .1; done
  exit 0
fi
setsid kube-apiserver --etcd-servers=http://127.0.0.1:12379 --secure-port=$api --advertise-address=$node \
  --service-cluster-ip-range=10.96.0.0/16 --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=pki/sa.key --service-account-signing-key-file=pki/sa.key \
  --authorization-mode=Node,RBAC --kubelet-client-certificate=pki/apiclient.crt --kubelet-client-key=pki/apiclient.key \
  --kubelet-certificate-authority=pki/ca.crt --kubelet-preferred-address-types=InternalIP --allow-privileged=true \
  >>log/apiserver.log 2>&1 </dev/null &
echo $! >pid/apiserver
