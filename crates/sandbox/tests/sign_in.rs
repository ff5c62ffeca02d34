//! The authorization server holds clients to what they asked for.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fhirvest_sandbox::{CLIENT_ID, Consent, Options, SignIn, World};
use serde_json::Value;
use support::{Running, run};

const API: &str = "/highmark/patient-access";
const REDIRECT: &str = "http://127.0.0.1:8400/callback";
// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

struct Scene {
    sandbox: Running,
    browser: reqwest::Client,
    clock: Arc<AtomicU64>,
}

impl Scene {
    async fn new(redirect_uris: &[&str]) -> Self {
        let clock = Arc::new(AtomicU64::new(1_800_000_000));
        let read = Arc::clone(&clock);
        let redirect_uris = redirect_uris.iter().map(|uri| (*uri).to_owned()).collect();
        let sign_in = SignIn { consent: Consent::Given, redirect_uris, ..SignIn::default() };
        let options = Options {
            sign_in: Some(sign_in),
            clock: Some(Arc::new(move || Duration::from_secs(read.load(Ordering::Relaxed)))),
            ..Options::default()
        };
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { sandbox: run(Arc::new(World::synthetic(1, 20)), options).await, browser, clock }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{API}/{path}", self.sandbox.origin)
    }

    /// An authorization request, with some parameters changed: the status, and where the browser is sent.
    async fn authorize(&self, changed: &[(&str, &str)]) -> (u16, Option<url::Url>) {
        let mut url = url::Url::parse(&self.url("oauth/authorize")).unwrap();
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
            ("redirect_uri", REDIRECT),
            ("scope", "launch/patient openid offline_access patient/*.read"),
            ("state", "s"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ] {
            let value = changed.iter().find(|(known, _)| *known == name).map_or(value, |(_, other)| other);
            url.query_pairs_mut().append_pair(name, value);
        }
        let answer = self.browser.get(url).send().await.unwrap();
        let location = answer.headers().get("location").map(|value| value.to_str().unwrap().parse().unwrap());
        (answer.status().as_u16(), location)
    }

    async fn code(&self) -> String {
        let (_, location) = self.authorize(&[]).await;
        of(&location.unwrap(), "code").unwrap()
    }

    async fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.browser.post(self.url("oauth/token")).form(form).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn exchange(&self, code: &str, verifier: &str, redirect_uri: &str) -> (u16, Value) {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT_ID),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", redirect_uri),
        ])
        .await
    }

    async fn refresh(&self, token: &str) -> (u16, Value) {
        self.token(&[("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", token)]).await
    }

    async fn read(&self, token: &str) -> u16 {
        self.browser.get(self.url("Patient")).bearer_auth(token).send().await.unwrap().status().as_u16()
    }
}

fn of(url: &url::Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

fn word<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[tokio::test]
async fn a_code_is_good_once_for_its_client_its_address_and_its_verifier() {
    let scene = Scene::new(&[]).await;
    let other = "http://127.0.0.1:8401/callback";
    for (verifier, redirect_uri) in [("another-verifier-another-verifier-another-v", REDIRECT), (VERIFIER, other)] {
        let (status, answer) = scene.exchange(&scene.code().await, verifier, redirect_uri).await;
        assert_eq!((status, word(&answer, "error")), (400, "invalid_grant"), "{verifier} {redirect_uri}");
    }
    let code = scene.code().await;
    scene.clock.fetch_add(60, Ordering::Relaxed);
    assert_eq!(scene.exchange(&code, VERIFIER, REDIRECT).await.0, 400, "the code has expired");

    let code = scene.code().await;
    let (status, answer) = scene.exchange(&code, VERIFIER, REDIRECT).await;
    assert_eq!(status, 200, "{answer}");
    let access = word(&answer, "access_token");
    assert_eq!(scene.read(access).await, 200);
    // A second use is somebody else's: what the first gave is taken back.
    assert_eq!(scene.exchange(&code, VERIFIER, REDIRECT).await.0, 400);
    assert_eq!(scene.read(access).await, 401);
    assert_eq!(scene.refresh(word(&answer, "refresh_token")).await.0, 400);
}

#[tokio::test]
async fn tokens_end_rotate_and_are_taken_back() {
    let scene = Scene::new(&[]).await;
    let (_, first) = scene.exchange(&scene.code().await, VERIFIER, REDIRECT).await;
    scene.clock.fetch_add(900, Ordering::Relaxed);
    assert_eq!(scene.read(word(&first, "access_token")).await, 401);
    let (status, second) = scene.refresh(word(&first, "refresh_token")).await;
    assert_eq!((status, scene.read(word(&second, "access_token")).await), (200, 200));
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    // A refresh token that comes twice ends the sign-in.
    assert_eq!(scene.refresh(word(&first, "refresh_token")).await.0, 400);
    assert_eq!(scene.read(word(&second, "access_token")).await, 401);
    assert_eq!(scene.refresh(word(&second, "refresh_token")).await.0, 400);

    let (_, third) = scene.exchange(&scene.code().await, VERIFIER, REDIRECT).await;
    let form = [("client_id", CLIENT_ID), ("token", word(&third, "refresh_token"))];
    assert_eq!(scene.browser.post(scene.url("oauth/revoke")).form(&form).send().await.unwrap().status(), 200);
    assert_eq!(scene.read(word(&third, "access_token")).await, 401);
}

#[tokio::test]
async fn what_is_not_registered_or_not_safe_is_refused_before_anybody_is_asked() {
    let scene = Scene::new(&[]).await;
    for (name, value) in [
        ("client_id", "somebody"),
        ("redirect_uri", "https://elsewhere.example/callback"),
        ("redirect_uri", "http://elsewhere.example/callback"),
    ] {
        let (status, location) = scene.authorize(&[(name, value)]).await;
        assert_eq!((status, location), (400, None), "{name}={value}");
    }
    for (name, value, error) in [
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("scope", "openid", "invalid_scope"),
    ] {
        let (status, location) = scene.authorize(&[(name, value)]).await;
        let location = location.unwrap();
        assert_eq!(
            (status, of(&location, "error").as_deref(), of(&location, "code")),
            (302, Some(error), None),
            "{name}"
        );
        assert_eq!(of(&location, "state").as_deref(), Some("s"));
    }
    let registered = Scene::new(&[REDIRECT]).await;
    assert_eq!(registered.authorize(&[]).await.0, 302);
    assert_eq!(registered.authorize(&[("redirect_uri", "http://127.0.0.1:8401/callback")]).await.0, 400);
}
