# What the ghz scripts share. Methods come from the server's reflection: no proto files are needed.

# run_ghz METHOD DATA: METHOD as package.Service.Method, DATA a JSON template for each request.
run_ghz() {
  local bench ghz
  bench=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  ghz=$("$bench/tools.sh" ghz)
  "$ghz" --insecure --call "$1" --data "$2" --format json \
    --concurrency "${CONCURRENCY:-64}" --connections "${CONNECTIONS:-4}" --total "${TOTAL:-10000}" \
    --timeout 5s "${ADDR:-127.0.0.1:50051}"
}
