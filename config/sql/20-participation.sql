-- view: participation
-- needs: practitioner(id, npi, family_name, given_names), practitioner_role(id, practitioner_id, organization_id, active), role_network(role_id, network_id)
-- optional: role_location(role_id, location_id), network(id, name), organization(id, npi, name), organization_affiliation(id, participating_organization_id, active), affiliation_network(affiliation_id, network_id), affiliation_location(affiliation_id, location_id)
-- Who is in which network, where: one row a practitioner's role (or an organization's affiliation), network and location.
-- Example:
--   SELECT network_name, count(DISTINCT npi) FROM "all".participation WHERE active IS NOT FALSE GROUP BY network_name;
SELECT 'practitioner' AS kind, practitioner.npi, practitioner.id AS owner_id,
  concat_ws(' ', practitioner.given_names, practitioner.family_name) AS name,
  role.id AS role_id, role.organization_id, member.network_id, network.name AS network_name, place.location_id, role.active
FROM {source}.practitioner AS practitioner
JOIN {source}.practitioner_role AS role ON role.practitioner_id = practitioner.id
JOIN {source}.role_network AS member ON member.role_id = role.id
LEFT JOIN {source}.network AS network ON network.id = member.network_id
LEFT JOIN {source}.role_location AS place ON place.role_id = role.id
UNION ALL
SELECT 'organization', organization.npi, organization.id, organization.name,
  affiliation.id, organization.id, member.network_id, network.name, place.location_id, CAST(affiliation.active AS BOOLEAN)
FROM {source}.organization AS organization
JOIN {source}.organization_affiliation AS affiliation ON affiliation.participating_organization_id = organization.id
JOIN {source}.affiliation_network AS member ON member.affiliation_id = affiliation.id
LEFT JOIN {source}.network AS network ON network.id = member.network_id
LEFT JOIN {source}.affiliation_location AS place ON place.affiliation_id = affiliation.id;
