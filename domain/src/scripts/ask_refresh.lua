if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 0
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'command', 'refresh', 'seen', ARGV[1])
return 1
