-- macros: values
-- Values as they are compared: phones, NDCs, ZIPs, NPIs. Examples:
--   SELECT phone10('+1 (412) 555-0100 x7'), ndc11('0069-2587-10'), zip5('15222-1234'), npi_valid('1234567893');
-- Ten digits of a US phone number, without country code and extension; NULL for anything else.
CREATE OR REPLACE MACRO phone10(phone) AS (
  nullif(regexp_extract(regexp_replace(regexp_replace(lower(phone), '(x|ext).*$', ''), '[^0-9]', '', 'g'), '^1?([2-9][0-9]{9})$', 1), ''));
-- The eleven digits of an NDC as claims have it: 4-4-2, 5-3-2 and 5-4-1 with the missing zero put in; eleven digits as
-- they are; ten digits without hyphens are ambiguous and give NULL.
CREATE OR REPLACE MACRO ndc11(ndc) AS (CASE
  WHEN regexp_full_match(ndc, '[0-9]{4}-[0-9]{4}-[0-9]{2}') THEN '0' || replace(ndc, '-', '')
  WHEN regexp_full_match(ndc, '[0-9]{5}-[0-9]{3}-[0-9]{2}') THEN left(ndc, 5) || '0' || substr(ndc, 7, 3) || right(ndc, 2)
  WHEN regexp_full_match(ndc, '[0-9]{5}-[0-9]{4}-[0-9]{1}') THEN left(ndc, 5) || substr(ndc, 7, 4) || '0' || right(ndc, 1)
  WHEN regexp_full_match(ndc, '[0-9]{5}-[0-9]{4}-[0-9]{2}|[0-9]{11}') THEN replace(ndc, '-', '') END);
-- The first five digits of a ZIP or ZIP+4; NULL for anything else.
CREATE OR REPLACE MACRO zip5(zip) AS (nullif(regexp_extract(trim(zip), '^([0-9]{5})(-?[0-9]{4})?$', 1), ''));
-- Whether a text of digits ends with its Luhn check digit.
CREATE OR REPLACE MACRO luhn_valid(digits) AS (regexp_full_match(digits, '[0-9]+') AND list_sum([
  CASE WHEN place % 2 = 0 THEN [0, 2, 4, 6, 8, 1, 3, 5, 7, 9][ascii(digits[-place]) - 47]
  ELSE ascii(digits[-place]) - 48 END FOR place IN range(1, length(digits) + 1)]) % 10 = 0);
-- Whether it is a well-formed NPI: ten digits, Luhn over 80840 and the NPI. It says nothing of whether it was issued.
CREATE OR REPLACE MACRO npi_valid(npi) AS (regexp_full_match(npi, '[0-9]{10}') AND luhn_valid('80840' || npi));
