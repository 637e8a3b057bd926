-- For scripts that read what is only shown.

-- What a command answers, or `otherwise` where a key is of another kind than it should be: nothing
-- that is only shown may keep the rest from being shown.
local function ask(otherwise, ...)
  local answer = redis.pcall(...)
  if not answer or (type(answer) == 'table' and answer.err) then
    return otherwise
  end
  return answer
end

-- A field of a hash; nil where there is none, or one of more than `longest` bytes.
local function field(key, name, longest)
  if ask(0, 'HSTRLEN', key, name) > longest then
    return nil
  end
  return ask(nil, 'HGET', key, name)
end

