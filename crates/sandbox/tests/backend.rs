//! A program with a key pair gets tokens for statements that it signs, and for no others.

#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use fhirvest_sandbox::{BACKEND_CLIENT_ID, BackendClient, Options, World};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use support::{DIRECTORY, Running, run};

const NOW: u64 = 1_800_000_000;
const EC: &[u8] = include_bytes!("../../../tests/fixtures/keys/es384.pem");
const RSA: &[u8] = include_bytes!("../../../tests/fixtures/keys/rs384.pem");
const STRANGER: &[u8] = include_bytes!("../../../tests/fixtures/keys/stranger.pem");
const KEYS: &str = include_str!("../../../tests/fixtures/keys/jwks.json");

async fn sandbox() -> Running {
    let backend = Some(BackendClient::from_jwks(KEYS).unwrap());
    let options = Options { backend, clock: Some(Arc::new(|| Duration::from_secs(NOW))), ..Options::default() };
    run(Arc::new(World::synthetic(1, 20)), options).await
}

fn claims(sandbox: &Running, jti: &str) -> Value {
    let aud = format!("{}/oauth/token", sandbox.origin);
    json!({"iss": BACKEND_CLIENT_ID, "sub": BACKEND_CLIENT_ID, "aud": aud, "exp": NOW + 240, "jti": jti})
}

fn sign(claims: &Value, algorithm: Algorithm, kid: &str, key: &EncodingKey) -> String {
    encode(&Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) }, claims, key).unwrap()
}

/// The status and the answer of the token endpoint.
async fn ask(sandbox: &Running, statement: &str, scope: &str) -> (u16, Value) {
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", scope),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", statement),
    ];
    let answer = sandbox.client.post(format!("{}/oauth/token", sandbox.origin)).form(&form).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn both_algorithms_of_smart_get_tokens_and_a_statement_is_for_one_use() {
    let sandbox = sandbox().await;
    let target = format!("{DIRECTORY}/Location");
    assert_eq!(sandbox.get(&target).await.status(), 401);
    let told = sandbox.json(&format!("{DIRECTORY}/.well-known/smart-configuration")).await;
    assert_eq!(told["token_endpoint"], format!("{}/oauth/token", sandbox.origin));
    let rsa = EncodingKey::from_rsa_pem(RSA).unwrap();
    for (algorithm, kid, key) in
        [(Algorithm::ES384, "ec", EncodingKey::from_ec_pem(EC).unwrap()), (Algorithm::RS384, "rsa", rsa)]
    {
        let statement = sign(&claims(&sandbox, kid), algorithm, kid, &key);
        let (status, answer) = ask(&sandbox, &statement, "system/*.read").await;
        assert_eq!((status, answer["expires_in"].as_u64()), (200, Some(300)), "{answer}");
        let token = answer["access_token"].as_str().unwrap();
        let url = format!("{}{target}", sandbox.origin);
        assert_eq!(sandbox.client.get(url).bearer_auth(token).send().await.unwrap().status(), 200);
        let (status, answer) = ask(&sandbox, &statement, "system/*.read").await;
        assert_eq!((status, answer["error_description"].as_str()), (401, Some("this jti came before")));
    }
    let key = EncodingKey::from_ec_pem(EC).unwrap();
    let statement = sign(&claims(&sandbox, "scope"), Algorithm::ES384, "ec", &key);
    assert_eq!(ask(&sandbox, &statement, "patient/*.read").await.1["error"], "invalid_scope");
}

#[tokio::test]
async fn a_statement_that_does_not_fit_gets_nothing() {
    let sandbox = sandbox().await;
    let key = EncodingKey::from_ec_pem(EC).unwrap();
    for (field, value, why) in [
        ("aud", json!("https://elsewhere.example/token"), "signature, aud"),
        ("exp", json!(NOW), "exp is past"),
        ("exp", json!(NOW + 301), "more than five minutes"),
        ("iss", json!("somebody"), "iss and sub"),
        ("sub", json!("somebody"), "iss and sub"),
        ("jti", Value::Null, "a claim does not fit"),
    ] {
        let mut claims = claims(&sandbox, "one");
        claims[field] = value;
        let (status, answer) = ask(&sandbox, &sign(&claims, Algorithm::ES384, "ec", &key), "system/*.read").await;
        assert_eq!((status, answer["error"].as_str()), (401, Some("invalid_client")), "{field}");
        assert!(answer["error_description"].as_str().unwrap().contains(why), "{field}: {answer}");
    }
    let good = claims(&sandbox, "two");
    let stranger = EncodingKey::from_ec_pem(STRANGER).unwrap();
    let secret = EncodingKey::from_secret(KEYS.as_bytes());
    for (statement, why) in [
        (sign(&good, Algorithm::ES384, "ec", &stranger), "signature"),
        (sign(&good, Algorithm::ES384, "unknown", &key), "kid is not in"),
        (sign(&good, Algorithm::ES384, "rsa", &key), "signature"),
        (sign(&good, Algorithm::HS384, "ec", &secret), "alg has to be"),
        ("no.statement".to_owned(), "no JWT"),
    ] {
        let (status, answer) = ask(&sandbox, &statement, "system/*.read").await;
        assert_eq!(status, 401, "{why}");
        assert!(answer["error_description"].as_str().unwrap().contains(why), "{why}: {answer}");
    }
    // None of them used up the jti.
    assert_eq!(ask(&sandbox, &sign(&good, Algorithm::ES384, "ec", &key), "system/*.read").await.0, 200);
}
