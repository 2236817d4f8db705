//! Sends notices to the webhook of the configuration: HTTPS alone, signed as the Standard Webhooks have it, each until it
//! is taken.

use std::{fs, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Certificate, Client, redirect::Policy};
use sha2::Sha256;

use super::{AppError, House};
use crate::{
    admin::{
        AdminError,
        notices::{Notice, Notices},
    },
    config::NotifyConfig,
    domain::Timestamp,
    telemetry::Chain,
};

/// How often the outbox is looked into.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Shorter than the wait before the second try.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How people are told of, where anybody is told.
pub(super) fn notices(config: &NotifyConfig) -> Notices {
    Notices::new(config.pseudonym_key.expose().trim().as_bytes().to_vec(), &config.link)
}

/// Starts sending, where the configuration says to whom.
pub(super) fn watch(house: &Arc<House>) -> Result<(), AppError> {
    let (Some(config), Some(_store)) = (house.config.grants.notify.clone(), &house.store) else { return Ok(()) };
    let client = client(&config)?;
    let house = Arc::clone(house);
    let stopping = house.lifecycle.stages().stopping.clone();
    let lifecycle = house.lifecycle.clone();
    lifecycle.watch("notices", async move {
        let key = config.key();
        loop {
            let turn = async {
                if let Err(error) = turn(&house, &client, &config.url, &key).await {
                    tracing::debug!(error = %Chain(&error), "notices wait for the store");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            // What was handed out and not taken is due again: nothing is lost with this process.
            tokio::select! {
                () = turn => {}
                () = stopping.cancelled() => return Ok::<(), AppError>(()),
            }
        }
    });
    Ok(())
}

fn client(config: &NotifyConfig) -> Result<Client, AppError> {
    // Telemetry may have installed it already: either is the same provider.
    let _installed_before = rustls::crypto::ring::default_provider().install_default().is_err();
    // A redirect would take what is told to an address that nobody configured.
    let mut builder = Client::builder().https_only(true).redirect(Policy::none()).timeout(ANSWER_WITHIN).no_proxy();
    if let Some(file) = &config.ca_file {
        let pem = fs::read(file).map_err(|source| AppError::Read { path: file.clone(), source })?;
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(AppError::Notify)?);
    }
    builder.build().map_err(AppError::Notify)
}

/// Sends all that is due.
async fn turn(house: &House, client: &Client, url: &str, key: &[u8]) -> Result<(), AdminError> {
    house.admin.note_overdue().await?;
    while let Some(notice) = house.admin.next_notice().await? {
        match send(client, url, key, &notice, house.clock.now()).await {
            Ok(status) if status.is_success() => house.admin.notice_taken(&notice.id).await?,
            Ok(status) => {
                tracing::warn!(
                    status = status.as_u16(),
                    attempts = notice.attempts,
                    "the webhook did not take a notice"
                );
            }
            // Its words may hold the address, which is a secret of some receivers.
            Err(error) => {
                let is_late = error.is_timeout();
                tracing::warn!(is_late, attempts = notice.attempts, "the webhook cannot be reached, a notice waits");
            }
        }
    }
    Ok(())
}

async fn send(
    client: &Client,
    url: &str,
    key: &[u8],
    notice: &Notice,
    now: Timestamp,
) -> Result<reqwest::StatusCode, reqwest::Error> {
    let at = now.as_second().to_string();
    let request = client
        .post(url)
        .header("webhook-id", &notice.id)
        .header("webhook-timestamp", &at)
        .header("webhook-signature", signature(key, &notice.id, &at, &notice.body))
        .header("content-type", "application/json")
        .body(notice.body.clone());
    Ok(request.send().await?.status())
}

/// `v1,` and the HMAC-SHA-256 of id, time and body, joined by dots.
fn signature(key: &[u8], id: &str, at: &str, body: &str) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_published_example() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
