-- view: ghost_signals
-- needs: practitioner(id, npi, last_updated), practitioner_role(id, practitioner_id, practitioner_ref, organization_id, organization_ref, active), role_location(role_id, location_id, location_ref), role_network(role_id, network_id, network_ref), location(id), organization(id)
-- optional: network(id), telecom(owner_id, owner_type, system, value)
-- What in a directory may lead nowhere: one row a resource and signal, a signal and no proof. The signals:
-- practitioner-without-role; role-without-location; role-without-network; dangling-reference; invalid-npi;
-- shared-phone (one number at more than 20 practices); many-locations (one practitioner at more than 10); stale (not
-- updated for two years before the newest of its table). Example:
--   SELECT source, signal, count(*) FROM "all".ghost_signals GROUP BY ALL ORDER BY ALL;
WITH referring AS (
  SELECT role.id AS role_id, 'Practitioner' AS kind, role.practitioner_id AS id, role.practitioner_ref AS reference
  FROM {source}.practitioner_role AS role
  UNION ALL
  SELECT role.id, 'Organization', role.organization_id, role.organization_ref FROM {source}.practitioner_role AS role
  UNION ALL
  SELECT place.role_id, 'Location', place.location_id, place.location_ref FROM {source}.role_location AS place
  UNION ALL
  SELECT member.role_id, 'Organization', member.network_id, member.network_ref FROM {source}.role_network AS member
), known AS (
  SELECT 'Practitioner' AS kind, practitioner.id FROM {source}.practitioner AS practitioner
  UNION ALL SELECT 'Location', location.id FROM {source}.location AS location
  UNION ALL SELECT 'Organization', organization.id FROM {source}.organization AS organization
  -- A network is an Organization with a table of its own.
  UNION ALL SELECT 'Organization', network.id FROM {source}.network AS network
)
SELECT 'practitioner-without-role' AS signal, 'Practitioner' AS resource_type, practitioner.id, practitioner.npi AS detail
FROM {source}.practitioner AS practitioner
WHERE NOT EXISTS (SELECT 1 FROM {source}.practitioner_role AS role WHERE role.practitioner_id = practitioner.id)
UNION ALL
SELECT 'role-without-location', 'PractitionerRole', role.id, NULL FROM {source}.practitioner_role AS role
WHERE NOT EXISTS (SELECT 1 FROM {source}.role_location AS place WHERE place.role_id = role.id)
UNION ALL
SELECT 'role-without-network', 'PractitionerRole', role.id, NULL FROM {source}.practitioner_role AS role
WHERE NOT EXISTS (SELECT 1 FROM {source}.role_network AS member WHERE member.role_id = role.id)
UNION ALL
SELECT 'dangling-reference', 'PractitionerRole', referring.role_id, referring.reference FROM referring
WHERE referring.id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM known WHERE known.kind = referring.kind AND known.id = referring.id)
UNION ALL
SELECT 'invalid-npi', 'Practitioner', practitioner.id, practitioner.npi FROM {source}.practitioner AS practitioner
WHERE practitioner.npi IS NOT NULL AND NOT npi_valid(practitioner.npi)
UNION ALL
SELECT 'shared-phone', phones.owner_type, phones.owner_id, phones.phone FROM (
  SELECT DISTINCT telecom.owner_type, telecom.owner_id, phone10(telecom.value) AS phone
  FROM {source}.telecom AS telecom
  WHERE telecom.system = 'phone' AND telecom.owner_type IN ('PractitionerRole', 'Location', 'Organization')
) AS phones
WHERE phones.phone IS NOT NULL
QUALIFY count(*) OVER (PARTITION BY phones.owner_type, phones.phone) > 20
UNION ALL
SELECT 'many-locations', 'Practitioner', role.practitioner_id, CAST(count(DISTINCT place.location_id) AS VARCHAR)
FROM {source}.practitioner_role AS role JOIN {source}.role_location AS place ON place.role_id = role.id
WHERE role.practitioner_id IS NOT NULL AND role.active IS NOT FALSE
GROUP BY role.practitioner_id HAVING count(DISTINCT place.location_id) > 10
UNION ALL
SELECT 'stale', 'Practitioner', practitioner.id, CAST(CAST(practitioner.last_updated AS DATE) AS VARCHAR)
FROM {source}.practitioner AS practitioner
WHERE practitioner.last_updated < (SELECT max(newest.last_updated) FROM {source}.practitioner AS newest) - INTERVAL 2 YEAR;
