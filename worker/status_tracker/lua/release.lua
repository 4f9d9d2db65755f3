-- Give back the leases that are ours, and leave the others alone.
--
-- KEYS              leases: strings that hold the name of the owner
-- ARGV[1] name      of the worker
--
-- Returns how many were ours.

local name = ARGV[1]
local released = 0
local refused = refused_by_acl({{'GET', KEYS[1]}, {'DEL', KEYS[1]}})
if refused then return refused end

for _, lease in ipairs(KEYS) do
  if redis.call('TYPE', lease).ok == 'string' and redis.call('GET', lease) == name then
    released = released + redis.call('DEL', lease)
  end
end
return released
