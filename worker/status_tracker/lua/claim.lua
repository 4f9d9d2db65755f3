-- Take the leases that are free, and renew those that are ours.
--
-- KEYS              leases: strings that hold the name of the owner
-- ARGV[1] name      of the worker
-- ARGV[2] ttl       ms until a lease that is not renewed runs out
--
-- Returns the owner of each lease, in the order of KEYS; an error in its place where the key is of
-- another type.

local name, ttl = ARGV[1], ARGV[2]

local owners = {}
local refused = refused_by_acl({{'GET', KEYS[1]}, {'SET', KEYS[1], ''}})
if refused then return refused end
for i, lease in ipairs(KEYS) do
  local wrong = other_than('string', lease)
  local owner = wrong or redis.call('GET', lease) or name
  if owner == name then redis.call('SET', lease, name, 'PX', ttl) end
  owners[i] = owner
end
return owners
