-- view: pharmacy
-- needs: organization_affiliation(id, organization_id, participating_organization_id), affiliation_code(affiliation_id, code), affiliation_location(affiliation_id, location_id), location(id, name, address_lines, city, state, postal_code, hours_days, open_all_day), organization(id, npi, name)
-- optional: affiliation_specialty(affiliation_id, code, display), affiliation_network(affiliation_id, network_id), network(id, name), identifier(owner_id, owner_type, value, system, type_code), telecom(owner_id, owner_type, system, value)
-- One row a pharmacy at a location: who runs it, its NPI and NCPDP id, its address, phone, types (NUCC 3336…), hours and
-- networks. Example:
--   SELECT name, city, phone FROM "all".pharmacy WHERE is_mail_order OR open_all_day;
WITH pharmacies AS (
  SELECT DISTINCT affiliation.id AS affiliation_id, affiliation.participating_organization_id AS organization_id, place.location_id
  FROM {source}.organization_affiliation AS affiliation
  JOIN {source}.affiliation_code AS code ON code.affiliation_id = affiliation.id AND code.code = 'pharmacy'
  LEFT JOIN {source}.affiliation_location AS place ON place.affiliation_id = affiliation.id
), numbers AS (
  SELECT identifier.owner_id, identifier.owner_type, min(identifier.value) AS ncpdp_id
  FROM {source}.identifier AS identifier
  WHERE identifier.type_code = 'NCPDP' OR identifier.system LIKE '%NCPDP%' GROUP BY ALL
), npis AS (
  SELECT identifier.owner_id, min(identifier.value) AS npi FROM {source}.identifier AS identifier
  WHERE identifier.owner_type = 'Location' AND (identifier.type_code = 'NPI' OR identifier.system LIKE '%npi') GROUP BY ALL
), phones AS (
  SELECT telecom.owner_id, telecom.owner_type, min(telecom.value) AS phone FROM {source}.telecom AS telecom
  WHERE telecom.system = 'phone' GROUP BY ALL
), kinds AS (
  SELECT specialty.affiliation_id, list(DISTINCT specialty.code ORDER BY specialty.code) AS type_codes,
    list(DISTINCT specialty.display ORDER BY specialty.display) AS types
  FROM {source}.affiliation_specialty AS specialty GROUP BY specialty.affiliation_id
), networks AS (
  SELECT member.affiliation_id, list(DISTINCT coalesce(network.name, member.network_id) ORDER BY coalesce(network.name, member.network_id)) AS networks
  FROM {source}.affiliation_network AS member LEFT JOIN {source}.network AS network ON network.id = member.network_id
  GROUP BY member.affiliation_id
)
SELECT pharmacies.affiliation_id, pharmacies.organization_id, pharmacies.location_id,
  coalesce(location.name, organization.name) AS name, organization.name AS organization_name,
  coalesce(npis.npi, organization.npi) AS npi, coalesce(own.ncpdp_id, theirs.ncpdp_id) AS ncpdp_id,
  location.address_lines, location.city, location.state, location.postal_code, zip5(location.postal_code) AS zip,
  coalesce(here.phone, there.phone, head.phone) AS phone, phone10(coalesce(here.phone, there.phone, head.phone)) AS phone10,
  kinds.type_codes, kinds.types,
  coalesce(list_contains(kinds.type_codes, '3336C0003X'), false) AS is_retail,
  coalesce(list_contains(kinds.type_codes, '3336C0004X'), false) AS is_compounding,
  coalesce(list_contains(kinds.type_codes, '3336M0002X'), false) AS is_mail_order,
  coalesce(list_contains(kinds.type_codes, '3336S0011X'), false) AS is_specialty,
  location.hours_days, location.open_all_day, networks.networks
FROM pharmacies
LEFT JOIN {source}.location AS location ON location.id = pharmacies.location_id
LEFT JOIN {source}.organization AS organization ON organization.id = pharmacies.organization_id
LEFT JOIN npis ON npis.owner_id = pharmacies.location_id
LEFT JOIN numbers AS own ON own.owner_id = pharmacies.location_id AND own.owner_type = 'Location'
LEFT JOIN numbers AS theirs ON theirs.owner_id = pharmacies.organization_id AND theirs.owner_type = 'Organization'
LEFT JOIN phones AS here ON here.owner_id = pharmacies.location_id AND here.owner_type = 'Location'
LEFT JOIN phones AS there ON there.owner_id = pharmacies.affiliation_id AND there.owner_type = 'OrganizationAffiliation'
LEFT JOIN phones AS head ON head.owner_id = pharmacies.organization_id AND head.owner_type = 'Organization'
LEFT JOIN kinds ON kinds.affiliation_id = pharmacies.affiliation_id
LEFT JOIN networks ON networks.affiliation_id = pharmacies.affiliation_id;
