-- table: formulary_drug
-- needs: formulary_drug(medication_id, rxnorm, ndc, name), medication_knowledge(id, rxnorm, ndc, name)
-- An item of the guide's second generation names its drug by reference: the drug's codes come from there.
SELECT drug.* REPLACE (
    coalesce(drug.rxnorm, medication.rxnorm) AS rxnorm, coalesce(drug.ndc, medication.ndc) AS ndc,
    coalesce(drug.name, medication.name) AS name)
FROM {files.formulary_drug} AS drug
LEFT JOIN {files.medication_knowledge} AS medication ON medication.id = drug.medication_id;
