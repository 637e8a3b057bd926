local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HMGET', KEYS[1], 'token', 'holder', 'expires_ms')
local token, holder, expires = tonumber(lease[1] or 0), lease[2], tonumber(lease[3] or 0)
if ARGV[1] == 'release' then
  if holder ~= ARGV[2] then
    return 0
  end
  redis.call('HSET', KEYS[1], 'holder', '', 'expires_ms', 0)
  return 1
end
if holder == ARGV[2] then
  redis.call('HSET', KEYS[1], 'expires_ms', now + ARGV[3])
  return {token, 1}
end
if expires > now then
  if expires - now > tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[1], 'expires_ms', now + ARGV[3])
  end
  return {token, 0}
end
-- Redis may have been emptied: tokens go on from the last one that anybody knows.
token = math.max(token, tonumber(ARGV[4])) + 1
redis.call('HSET', KEYS[1], 'token', token, 'holder', ARGV[2], 'expires_ms', now + ARGV[3])
return {token, 1}
