-- macro: in_network(number)
-- needs: participation()
-- The networks of an NPI, over all sources, with the places. Example:
--   SELECT DISTINCT source, network_name FROM in_network('1234567893');
SELECT * FROM {source}.participation WHERE npi = number AND active IS NOT FALSE;
