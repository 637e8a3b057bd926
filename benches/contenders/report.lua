-- What wrk has measured, as one line of JSON.
function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%f,"bytes":%d,"failed":%d,"p50":%f,"p99":%f,"p999":%f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, failed,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, latency:percentile(99.9) / 1e6))
end

-- A file that is named after `--` has the paths to be asked for, in turn, a line each.
function init(args)
  if args[1] == nil then
    return
  end
  local requests, last = {}, 0
  for path in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
  request = function()
    last = last % #requests + 1
    return requests[last]
  end
end
