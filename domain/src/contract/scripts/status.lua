local most, longest = tonumber(ARGV[1]), tonumber(ARGV[2])

local nodes = ask(0, 'HLEN', KEYS[4])
if nodes > most then
  return redis.error_reply('DAMAGED there are too many nodes: ' .. nodes)
end
local history = ''
if ask(0, 'STRLEN', KEYS[2]) <= longest then
  history = ask('', 'GET', KEYS[2])
end
local told = {ask(0, 'XLEN', KEYS[1]), history}
for i, state in ipairs({'healthy', 'hanging', 'offline'}) do
  told[2 + i] = tonumber(field(KEYS[3], state, longest) or 0) or 0
end
for _, name in ipairs(ask({}, 'HKEYS', KEYS[4])) do
  told[#told + 1] = field(KEYS[4], name, longest)
end
return told
