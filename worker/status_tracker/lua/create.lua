-- Note what a deployment is created with, as far as nobody else has.
--
-- KEYS[1] meta      hash: version, partitions, layout
-- ARGV              field, value, …
--
-- Returns what the hash holds then: [field, value, …].

local meta = KEYS[1]

local refused = other_than('hash', meta)
  or refused_by_acl({{'HSETNX', meta, '', ''}, {'HGETALL', meta}})
if refused then return refused end

for i = 1, #ARGV, 2 do redis.call('HSETNX', meta, ARGV[i], ARGV[i + 1]) end
return redis.call('HGETALL', meta)
