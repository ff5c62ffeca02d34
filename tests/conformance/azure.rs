//! A lake in Azure Blob Storage, on Microsoft's own emulator: two machines publish at once, a third one reads, flattens again
//! and verifies what they left. What goes wrong with a store is tested on S3 (`tests/e2e/object_store.rs`).

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::harness::{Server, data, fhirvest, ids, newest_duckdb, query, root, stdout_of};

struct Azure {
    _server: Server,
    endpoint: String,
    lake: String,
}

impl Azure {
    fn start() -> Self {
        let program = root().join("target/azurite/node_modules/.bin/azurite-blob");
        assert!(program.exists(), "{} is missing: make conformance prepares it", program.display());
        let mut command = Command::new(newest_duckdb());
        let server = Server::start(command.arg(root().join("tests/support/azurite.py")).arg(program));
        let greeting: Value = serde_json::from_str(&server.greeting).unwrap();
        let text = |name: &str| greeting[name].as_str().unwrap().to_owned();
        Self { lake: format!("az://{}/the/lake", text("container")), endpoint: text("endpoint"), _server: server }
    }

    /// The binary on a machine of its own, with a job for each name.
    fn on(&self, machine: &Path, url: &str) -> Command {
        std::fs::create_dir_all(machine.join("jobs")).unwrap();
        for name in ["one", "two"] {
            let job = format!(
                "version = 1\nenvironment = \"test\"\nviews = [\"plan-net/location\", \"plan-net/organization\"]\n\
                 [source]\nname = \"{name}\"\nbase_url = \"{url}\"\n[rate]\nrequests_per_second = 0\n\
                 [resources.Location]\n[resources.Organization]\n"
            );
            std::fs::write(machine.join(format!("jobs/{name}.toml")), job).unwrap();
        }
        let mut command = fhirvest();
        command.current_dir(machine).arg("--config").arg(root().join("config")).args(["--lake", &self.lake]);
        command.env("AZURE_STORAGE_USE_EMULATOR", "true").env("AZURITE_BLOB_STORAGE_URL", &self.endpoint);
        command
    }
}

#[test]
#[ignore = "needs FHIRVEST_SHARED: make conformance"]
fn two_machines_and_a_third_share_a_lake_in_azure() {
    let azure = Azure::start();
    let folder = data("plan-net");
    let (_sandbox, url) = Server::sandbox(&folder);
    let machines = tempfile::tempdir().unwrap();
    let running = ["one", "two"].map(|name| {
        let mut command = azure.on(&machines.path().join(name), &url);
        command.args(["run", name, "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for child in running {
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }

    let third = machines.path().join("three");
    let report: Value =
        serde_json::from_str(&stdout_of(azure.on(&third, &url).args(["rerun", "one", "--all", "--json"]))).unwrap();
    assert_eq!(report["exit_code"], 0, "{report:#}");
    let verified: Value = serde_json::from_str(&stdout_of(azure.on(&third, &url).args(["verify", "--json"]))).unwrap();
    assert_eq!(verified[0]["damage"], json!([]), "{verified:#}");

    // DuckDB's extension for Azure cannot be had everywhere: it reads the copy that was verified.
    let mut copies = third.join(".fhirvest-work").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let copy = copies.find(|path| path.join("views.sql").exists()).unwrap();
    let views = std::fs::read_to_string(copy.join("views.sql")).unwrap();
    assert!(views.contains(&format!("'{}/tables/", azure.lake)), "the views name the store: {views}");
    let local = third.join("views.sql");
    std::fs::write(&local, views.replace(&azure.lake, copy.to_str().unwrap())).unwrap();
    let sql = "SELECT source, list(id ORDER BY id) AS ids FROM \"all\".location GROUP BY source ORDER BY source";
    let sent = ids(&folder, "Location");
    assert_eq!(
        query(Some(&local), sql),
        [json!({"source": "one", "ids": sent}), json!({"source": "two", "ids": sent})]
    );
    let runs = query(Some(&local), "SELECT count(*) AS runs FROM \"all\"._runs");
    assert_eq!(runs, [json!({"runs": 3})]);
}
