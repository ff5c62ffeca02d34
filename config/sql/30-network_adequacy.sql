-- view: network_adequacy
-- needs: practitioner(id), practitioner_role(id, practitioner_id, active), role_network(role_id, network_id), role_location(role_id, location_id), role_specialty(role_id, code, display), location(id, state, county, postal_code)
-- optional: network(id, name), new_patients(owner_id, owner_type, accepting_code)
-- How many practitioners of a specialty a network has in a ZIP area, at how many places, and how many of them take new
-- patients. Roles that are not active are not counted. Example:
--   SELECT * FROM "all".network_adequacy WHERE practitioners < 2 ORDER BY network_name, specialty;
SELECT member.network_id, any_value(network.name) AS network_name, specialty.code AS specialty_code,
  any_value(specialty.display) AS specialty, location.state, any_value(location.county) AS county,
  zip5(location.postal_code) AS zip,
  count(DISTINCT role.practitioner_id) AS practitioners, count(DISTINCT location.id) AS locations,
  count(DISTINCT role.practitioner_id) FILTER (WHERE taking.accepting_code IN ('newpt', 'existptfam')) AS accepting
FROM {source}.practitioner_role AS role
JOIN {source}.practitioner AS practitioner ON practitioner.id = role.practitioner_id
JOIN {source}.role_network AS member ON member.role_id = role.id
JOIN {source}.role_specialty AS specialty ON specialty.role_id = role.id
JOIN {source}.role_location AS place ON place.role_id = role.id
JOIN {source}.location AS location ON location.id = place.location_id
LEFT JOIN {source}.network AS network ON network.id = member.network_id
LEFT JOIN {source}.new_patients AS taking ON taking.owner_id = role.id AND taking.owner_type = 'PractitionerRole'
WHERE role.active IS NOT FALSE
GROUP BY member.network_id, specialty.code, location.state, zip5(location.postal_code);
