-- Take the leases that are free, and prolong those that are ours.
--
-- KEYS              leases: strings that hold the name of the owner
-- ARGV[1] name      of the worker
-- ARGV[2] ttl       ms until a lease that is not prolonged runs out
--
-- Returns the owner of each lease, in the order of KEYS.

local name, ttl = ARGV[1], ARGV[2]

for _, lease in ipairs(KEYS) do
  local wrong = other_than('string', lease)
  if wrong then return wrong end
end

local owners = {}
for i, lease in ipairs(KEYS) do
  local owner = redis.call('GET', lease) or name
  if owner == name then redis.call('SET', lease, name, 'PX', ttl) end
  owners[i] = owner
end
return owners
