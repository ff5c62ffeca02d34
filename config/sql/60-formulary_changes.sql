-- view: formulary_changes
-- needs: formulary_drug(id, plan_id, formulary_id, rxnorm, name, medication_id, tier_code, prior_authorization, step_therapy_limit, quantity_limit, mail_order)
-- optional: medication_knowledge(id, rxnorm, name)
-- What changed on a formulary from one kept crawl to the next: drugs added and removed, and what else of them changed.
-- Example:
--   SELECT * FROM "all".formulary_changes WHERE what = 'tier_code' ORDER BY to_run DESC;
WITH runs AS (
  SELECT kept.run, max(kept.snapshot) AS snapshot, lead(kept.run) OVER (ORDER BY kept.run) AS next_run
  FROM "all"._snapshots AS kept
  WHERE kept.table_name = 'formulary_drug' AND kept.source = {source_name} GROUP BY kept.run
), drugs AS (
  SELECT runs.run, runs.next_run, drug.id, coalesce(drug.formulary_id, drug.plan_id) AS formulary_id,
    coalesce(drug.rxnorm, medication.rxnorm) AS rxnorm, coalesce(drug.name, medication.name) AS name, drug.tier_code,
    drug.prior_authorization, drug.step_therapy_limit, drug.quantity_limit, drug.mail_order
  FROM {history.formulary_drug} AS drug JOIN runs ON runs.snapshot = drug.snapshot
  LEFT JOIN {source}.medication_knowledge AS medication ON medication.id = drug.medication_id
), steps AS (
  SELECT runs.run AS from_run, runs.next_run AS to_run FROM runs WHERE runs.next_run IS NOT NULL
), gone AS (SELECT steps.*, drugs.* EXCLUDE (run, next_run) FROM drugs JOIN steps ON steps.from_run = drugs.run
), came AS (SELECT steps.*, drugs.* EXCLUDE (run, next_run) FROM drugs JOIN steps ON steps.to_run = drugs.run
), compared AS (
  SELECT coalesce(came.from_run, gone.from_run) AS from_run, coalesce(came.to_run, gone.to_run) AS to_run,
    coalesce(came.id, gone.id) AS id, coalesce(came.formulary_id, gone.formulary_id) AS formulary_id,
    coalesce(came.rxnorm, gone.rxnorm) AS rxnorm, coalesce(came.name, gone.name) AS name,
    gone.id IS NOT NULL AND came.id IS NOT NULL AS stayed,
    unnest([
      {'what': CASE WHEN gone.id IS NULL THEN 'added' ELSE 'removed' END, 'was': gone.id, 'now': came.id},
      {'what': 'tier_code', 'was': gone.tier_code, 'now': came.tier_code},
      {'what': 'prior_authorization', 'was': CAST(gone.prior_authorization AS VARCHAR), 'now': CAST(came.prior_authorization AS VARCHAR)},
      {'what': 'step_therapy_limit', 'was': CAST(gone.step_therapy_limit AS VARCHAR), 'now': CAST(came.step_therapy_limit AS VARCHAR)},
      {'what': 'quantity_limit', 'was': CAST(gone.quantity_limit AS VARCHAR), 'now': CAST(came.quantity_limit AS VARCHAR)},
      {'what': 'mail_order', 'was': CAST(gone.mail_order AS VARCHAR), 'now': CAST(came.mail_order AS VARCHAR)}
    ]) AS difference
  FROM gone FULL JOIN came ON came.id = gone.id AND came.to_run = gone.to_run
    AND came.formulary_id IS NOT DISTINCT FROM gone.formulary_id
)
SELECT compared.from_run, compared.to_run, compared.id, compared.formulary_id, compared.rxnorm, compared.name,
  compared.difference.what AS what, compared.difference.was AS was, compared.difference.now AS "now"
FROM compared
WHERE compared.difference.was IS DISTINCT FROM compared.difference.now
  AND (compared.stayed OR compared.difference.what IN ('added', 'removed'));
