#![allow(clippy::unwrap_used)]
use fhirvest_crawler::oauth::{TokenKeeper, Tokens};

use super::{store::Keeper, *};

fn provider() -> Provider {
    Provider {
        issuer: None,
        authorize_url: Url::parse("https://a.example/authorize").unwrap(),
        token_url: Url::parse("https://a.example/token").unwrap(),
        revoke_url: None,
        jwks_url: None,
        takes_basic: true,
    }
}

fn stored(patient: &str, refresh: Option<&str>, ends: &str) -> Stored {
    let tokens = Tokens {
        access: "access-secret".into(),
        refresh: refresh.map(Into::into),
        ends: Some(ends.parse().unwrap()),
        scopes: None,
        patient: Some(patient.to_owned()),
        id_token: None,
    };
    Stored::new(&Url::parse("https://a.example/fhir").unwrap(), &provider(), &tokens)
}

fn place(base: &str) -> Place {
    Place {
        login: "acme/members".into(),
        job: "members".into(),
        key: "acme@qa".into(),
        base_url: Url::parse(base).unwrap(),
    }
}

const NOON: &str = "2026-11-24T12:00:00Z";

#[test]
fn tokens_are_used_at_their_own_server_while_they_live() {
    let store = Arc::new(TokenStore::memory());
    let config = OauthCode { client_id: Some("me".into()), ..OauthCode::default() };
    let told = |base: &str| match held(&place(base), &config, &store, NOON.parse().unwrap()) {
        Ok(found) => Ok(found.into_iter().map(|(stored, _)| stored.patient.unwrap()).collect::<Vec<_>>()),
        Err(error) => {
            assert_eq!(error.exit(), Exit::Refused);
            Err(error.to_string())
        }
    };
    assert!(
        told("https://a.example/fhir").unwrap_err().contains("nobody has signed in: run `fhirvest login acme/members`")
    );
    store.add("acme@qa", &stored("one", None, "2026-11-24T11:59:59Z")).unwrap();
    assert!(told("https://a.example/fhir").unwrap_err().contains("has expired"));
    assert!(told("https://b.example/fhir").unwrap_err().contains("nobody has signed in"));
    store.add("acme@qa", &stored("two", Some("r"), "2026-11-24T11:59:59Z")).unwrap();
    store.add("acme@qa", &stored("three", None, "2026-11-24T12:00:01Z")).unwrap();
    assert_eq!(told("https://a.example/fhir").unwrap(), ["two", "three"]);
}

#[test]
fn files_are_closed_to_others_and_hold_one_entry_a_member() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(TokenStore::File(folder.path().join("tokens")));
    store.add("acme@qa", &stored("one", Some("old"), NOON)).unwrap();
    store.add("acme@qa", &stored("two", Some("other"), NOON)).unwrap();
    let keeper = Keeper { store: Arc::clone(&store), key: "acme@qa".into(), of: stored("one", None, NOON) };
    let mut tokens = keeper.held().unwrap().unwrap();
    tokens.refresh = Some("new".into());
    tokens.patient = None;
    keeper.keep(&tokens).unwrap();
    let all = store.read("acme@qa").unwrap();
    let refresh: Vec<_> = all.iter().map(|one| (one.patient.as_deref(), one.refresh_token.as_deref())).collect();
    assert_eq!(refresh, [(Some("two"), Some("other")), (Some("one"), Some("new"))]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("tokens"), mode("tokens/acme@qa.json")), (0o700, 0o600));
    }
    store.write("acme@qa", &[]).unwrap();
    assert_eq!(store.read("acme@qa").unwrap().len(), 0);
    assert!(!format!("{all:?}").contains("secret"));
}

#[test]
fn the_member_is_read_from_the_token_where_nobody_else_tells() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let claims = serde_json::json!({"patient_id": "m-1", "scope": "patient/*.read"});
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(b"x")).unwrap();
    assert_eq!(patient_in(&token).as_deref(), Some("m-1"));
    assert_eq!(patient_in("opaque"), None);
}

#[test]
fn an_id_token_that_a_shared_secret_signs_is_not_trusted() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let claims = serde_json::json!({"iss": "https://a.example", "aud": "me", "sub": "s", "exp": 4_000_000_000_u64});
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(b"x")).unwrap();
    let keys = serde_json::json!({"keys": []});
    let told = id_token::verify(&token.into(), keys, "me", None, None).unwrap_err().to_string();
    assert!(told.contains("not signed with a key pair"), "{told}");
}

const KEY: &[u8] = include_bytes!("../../../../tests/fixtures/keys/es384.pem");
const STRANGER: &[u8] = include_bytes!("../../../../tests/fixtures/keys/stranger.pem");
const KEYS: &str = include_str!("../../../../tests/fixtures/keys/jwks.json");

/// Which part of an ID token is changed, and what is said of it.
#[test]
fn an_id_token_is_trusted_only_as_a_whole() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use serde_json::{Value, json};
    let good = json!({"iss": "https://a.example", "aud": "me", "sub": "s", "exp": 4_000_000_000_u64, "nonce": "n"});
    let sign = |claims: &Value, kid: &str, key: &[u8]| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES384) };
        encode(&header, claims, &EncodingKey::from_ec_pem(key).unwrap()).unwrap()
    };
    let told = |token: String| {
        let keys = serde_json::from_str(KEYS).unwrap();
        let read = id_token::verify(&token.into(), keys, "me", Some("https://a.example"), Some("n"));
        read.map_err(|error| error.to_string())
    };
    told(sign(&good, "ec", KEY)).unwrap();
    for (field, value, words) in [
        ("iss", json!("https://b.example"), "does not fit"),
        ("aud", json!("other"), "does not fit"),
        ("exp", json!(1_700_000_000_u64), "does not fit"),
        ("sub", Value::Null, "does not fit"),
        ("nonce", json!("m"), "nonce differs"),
        ("nonce", Value::Null, "nonce differs"),
    ] {
        let mut claims = good.clone();
        claims[field] = value;
        let error = told(sign(&claims, "ec", KEY)).unwrap_err();
        assert!(error.contains(words), "{field}: {error}");
    }
    assert!(told(sign(&good, "ec", STRANGER)).unwrap_err().contains("does not fit"));
    assert!(told(sign(&good, "unknown", KEY)).unwrap_err().contains("its key is not known"));
    let unsigned = sign(&good, "ec", KEY);
    let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
    assert!(told(format!("{unsigned}.")).is_err());
}
