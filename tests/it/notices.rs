//! What others are told of grants and reviews: written with the change, handed out until it is taken, sent by HTTPS and signed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chaperone::{
    admin::notices::{Notice, Notices},
    clock::{Clock, FrozenClock},
    domain::mapping::Source,
    entities::FactsOptions,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::SignedDuration;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value as Json, json};

use crate::{
    grants::{Clinic, Cut, opened_store, reason_of, wish},
    helpers::{
        authorizer::{Authorizing, NOW},
        office::number,
        sidecar::{DEADLINE, Sidecar},
        world::World,
    },
};

/// The world with somebody to tell, and its clock.
async fn told_clinic(world: World) -> (Clinic, FrozenClock) {
    let clock = FrozenClock::at(NOW.parse().unwrap());
    let store = opened_store(&world).await;
    let options = |world: &World| FactsOptions { staleness: Duration::from_secs(20), ..world.options() };
    let authorizing = Authorizing::with(world, options, Arc::new(clock.clone())).await;
    let admin = authorizing.admin(Some(Arc::clone(&store)));
    let admin = Arc::into_inner(admin).unwrap().telling(Notices::new(vec![7; 32], "https://console.example"));
    (Clinic { admin: Arc::new(admin), store, authorizing }, clock)
}

async fn next(clinic: &Clinic) -> Option<(Notice, Json)> {
    let notice = clinic.admin.next_notice().await.unwrap()?;
    let body = serde_json::from_str(&notice.body).unwrap();
    Some((notice, body))
}

fn pass(clock: &FrozenClock, seconds: i64) {
    clock.set(clock.now() + SignedDuration::from_secs(seconds));
}

async fn a_notice_stands_with_its_grant_and_comes_again_until_it_is_taken(world: World) {
    let (clinic, clock) = told_clinic(world).await;
    let refused = clinic.ask("ana", &wish("ana", "C4", "COVERING", "urgent")).await;
    assert_eq!(reason_of(refused), "reason_required");
    assert_eq!(next(&clinic).await, None, "nobody is told of what was not made");
    clinic.ask("ana", &wish("ana", "C4", "COVERING", "Covering for a colleague on leave")).await.unwrap();

    let (first, body) = next(&clinic).await.expect("a client known to many is told of at once");
    assert_eq!((&body["type"], &body["data"]["tenant"]), (&json!("grant.opened"), &json!("T1")));
    let told = &body["data"]["reviews"][0];
    assert!(told["link"].as_str().unwrap().starts_with("https://console.example/admin/v1/reviews/"), "{body}");
    assert!(told["client"].as_str().unwrap().starts_with("c_"), "{body}");
    for word in ["\"C4\"", "ana", "Covering", "COVERING"] {
        assert!(!first.body.contains(word), "{word} is in {body}");
    }
    assert_eq!(next(&clinic).await, None, "it is under way");
    for (wait, attempts) in [(20, 1), (60, 2), (300, 3), (1_800, 4)] {
        pass(&clock, wait - 1);
        assert_eq!(next(&clinic).await, None, "not before {wait} s");
        pass(&clock, 1);
        let (again, _) = next(&clinic).await.expect("nobody took it");
        assert_eq!((&again.id, &again.body, again.attempts), (&first.id, &first.body, attempts));
    }
    clinic.admin.notice_taken(&first.id).await.unwrap();
    pass(&clock, 7_200);
    assert_eq!(next(&clinic).await, None, "it was taken");
}

async fn a_digest_tells_of_a_day_at_once_and_keeps_its_id(world: World) {
    let (clinic, clock) = told_clinic(world).await;
    let (one, other) = ("Client unreachable and in danger", "Called by the clinic next door");
    clinic.ask("ana", &wish("ana", "C3", "EMERG_TREAT", one)).await.unwrap();
    clinic.ask("ben", &wish("ben", "C2", "EMERG_TREAT", other)).await.unwrap();
    assert_eq!(next(&clinic).await, None, "they wait for the end of the day");
    pass(&clock, 9 * 3_600);
    let (digest, body) = next(&clinic).await.expect("midnight has come");
    assert_eq!((&body["type"], body["data"]["reviews"].as_array().unwrap().len()), (&json!("grants.digest"), 2));
    assert_eq!(next(&clinic).await, None, "both left together");
    pass(&clock, 20);
    let (again, _) = next(&clinic).await.expect("nobody took it");
    assert_eq!((&again.id, &again.body), (&digest.id, &digest.body));
    clinic.admin.notice_taken(&digest.id).await.unwrap();
    pass(&clock, 60);
    assert_eq!(next(&clinic).await, None);
}

async fn a_review_past_due_is_told_of_once(world: World) {
    let (clinic, clock) = told_clinic(world).await;
    clinic.admin.note_overdue().await.unwrap();
    let mut before = 0;
    while let Some((notice, body)) = next(&clinic).await {
        assert_eq!(body["type"], "review.overdue");
        clinic.admin.notice_taken(&notice.id).await.unwrap();
        before += 1;
    }
    clinic.ask("ana", &wish("ana", "C4", "COVERING", "Covering for a colleague on leave")).await.unwrap();
    pass(&clock, 3 * 86_400);
    let mut overdue = 0;
    for _ in 0..2 {
        clinic.admin.note_overdue().await.unwrap();
        while let Some((notice, body)) = next(&clinic).await {
            overdue += usize::from(body["type"] == "review.overdue");
            clinic.admin.notice_taken(&notice.id).await.unwrap();
        }
    }
    let mut transaction = clinic.store.read().await.unwrap();
    let open = chaperone::store::Sql::both("SELECT count(*) AS n FROM outbox WHERE kind = 'overdue'");
    let count = transaction.row(open, &[]).await.unwrap().unwrap().int("n").unwrap().unwrap();
    assert_eq!(i64::try_from(before + overdue).unwrap(), count, "each once");
    assert!(overdue >= 1);
}

/// Sends what is due, as far as it comes.
async fn send_all(clinic: &Clinic, sent: &mut Vec<Notice>) {
    while let Some(notice) = clinic.admin.next_notice().await.unwrap() {
        sent.push(notice.clone());
        clinic.admin.notice_taken(&notice.id).await.unwrap();
    }
}

/// The reviews that messages lead to, each with the ids that it left under.
fn links(sent: &[Notice]) -> BTreeMap<String, BTreeSet<&str>> {
    let mut links: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for notice in sent {
        let body: Json = serde_json::from_str(&notice.body).unwrap();
        for review in body["data"]["reviews"].as_array().unwrap() {
            links.entry(review["link"].as_str().unwrap().to_owned()).or_default().insert(&notice.id);
        }
    }
    links
}

/// Two of one day, by a sender that ends at each point where it waits, and by the one after it.
async fn a_digest_whose_sender_is_cut_off_anywhere_leaves_nothing_out_and_keeps_its_id(world: World) {
    let (clinic, clock) = told_clinic(world).await;
    let (mut cut_off, mut in_a_row) = (0, 0);
    for polls in 0.. {
        assert!(polls < 400, "it does not come to an end");
        for (user, client) in [("ana", "C3"), ("ben", "C2")] {
            let text = format!("Client unreachable and in danger, day {polls}");
            clinic.ask(user, &wish(user, client, "EMERG_TREAT", &text)).await.unwrap();
        }
        // The grants end before, and the day after.
        pass(&clock, 86_400);
        let mut sent: Vec<Notice> = Vec::new();
        let sending = Box::pin(send_all(&clinic, &mut sent));
        let is_cut_off = Cut { future: sending, polls_left: polls }.await.is_none();
        // What was sent and not taken is sent once more; the rows of one that was cut off are held until its database
        // notices.
        let latest = Instant::now() + DEADLINE;
        while number(&clinic.store, "SELECT count(*) AS n FROM outbox WHERE sent_at IS NULL").await > 0 {
            assert!(Instant::now() < latest, "after {polls} polls: {sent:?}");
            pass(&clock, 86_400);
            send_all(&clinic, &mut sent).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let told: BTreeMap<&str, &str> = sent.iter().map(|notice| (&*notice.id, &*notice.body)).collect();
        for notice in &sent {
            assert_eq!(told[&*notice.id], notice.body, "after {polls} polls");
        }
        assert_eq!(links(&sent).len(), 2, "after {polls} polls: {sent:?}");
        for (link, ids) in links(&sent) {
            assert_eq!(ids.len(), 1, "{link} left under two ids after {polls} polls: {sent:?}");
        }
        cut_off += usize::from(is_cut_off);
        // Polls are not the same in every run: the end is where it came through several times in a row.
        in_a_row = if is_cut_off { 0 } else { in_a_row + 1 };
        if in_a_row == 3 {
            break;
        }
    }
    assert!(cut_off > 3, "it was cut off {cut_off} times only");
}

/// As a sidecar that gathers holds its first row: another one takes what is left and does not wait for it.
#[tokio::test]
async fn two_that_gather_one_day_at_once_do_not_wait_for_each_other() {
    let (clinic, clock) = told_clinic(World::postgres().await).await;
    for (user, client) in [("ana", "C3"), ("ben", "C2"), ("ben", "C4")] {
        clinic
            .ask(user, &wish(user, client, "EMERG_TREAT", &format!("In danger at the door of {client}")))
            .await
            .unwrap();
    }
    let told_at_once = next(&clinic).await.expect("one is raised");
    clinic.admin.notice_taken(&told_at_once.0.id).await.unwrap();
    pass(&clock, 86_400);
    let mut other = clinic.store.begin().await.unwrap();
    let first = "SELECT id FROM outbox WHERE sent_at IS NULL ORDER BY next_try_at, id LIMIT 1 FOR UPDATE";
    let held = other.row(chaperone::store::Sql::both(first), &[]).await.unwrap().unwrap().some_text("id").unwrap();
    let within = Duration::from_secs(2);
    let gathered = tokio::time::timeout(within, clinic.admin.next_notice()).await.expect("it waits for nobody");
    let gathered = gathered.unwrap().expect("one is left");
    assert_ne!(gathered.id, held);
    other.commit().await.unwrap();
    let (rest, body) = next(&clinic).await.expect("the one that was held");
    assert_eq!((&rest.id, body["data"]["reviews"].as_array().unwrap().len()), (&held, 1));
    assert_eq!(next(&clinic).await, None);
}

crate::on_both!(
    a_digest_whose_sender_is_cut_off_anywhere_leaves_nothing_out_and_keeps_its_id,
    a_notice_stands_with_its_grant_and_comes_again_until_it_is_taken,
    a_digest_tells_of_a_day_at_once_and_keeps_its_id,
    a_review_past_due_is_told_of_once,
);

pub(crate) fn tls(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name)
}

/// Takes one notice by HTTPS, as the receiver; gives back its head and its body. `status` answers; `None` does not.
pub(crate) fn receive(listener: &TcpListener, status: Option<&str>) -> io::Result<(String, String)> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let chain = CertificateDer::pem_file_iter(tls("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(tls("server.key")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (stream, _) = listener.accept()?;
    let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::new(config)).unwrap(), stream);
    let mut asked = Vec::new();
    let (head, body) = loop {
        let mut bytes = [0; 4_096];
        let read = stream.read(&mut bytes)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        asked.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8(asked.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = header(head, "content-length").parse::<usize>().unwrap();
        if body.len() >= length {
            break (head.to_owned(), body.to_owned());
        }
    };
    if let Some(status) = status {
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    Ok((head, body))
}

/// The configuration that sends to a receiver on this machine.
pub(crate) fn notify(port: u16, key: &[u8]) -> String {
    format!(
        "grants:\n  notify_url: \"https://localhost:{port}/hook\"\n  notify_secret: \"whsec_{}\"\n  notify_pseudonym_key: \"0123456789abcdef0123456789abcdef\"\n  notify_ca_file: \"{}\"\n",
        STANDARD.encode(key),
        tls("authority.pem").display(),
    )
}

pub(crate) fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let value = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    });
    value.unwrap_or_else(|| panic!("no {name} in {head}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_leaves_by_https_signed_and_is_not_sent_again_once_it_is_taken() {
    let world = World::sqlite().await;
    let store = opened_store(&world).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = [9_u8; 32];
    let sidecar = Sidecar::prepared(&world.url(Source::App), &world.url(Source::Store));
    let text = fs::read_to_string(sidecar.config_file()).unwrap();
    let notify = notify(listener.local_addr().unwrap().port(), &key);
    let text =
        text.replace("audit:", &(notify + "audit:")).replace("name: ehr,", "name: ehr, capabilities: [decide, grant],");
    fs::write(sidecar.config_file(), text).unwrap();
    let sidecar = sidecar.started();
    let receiver = std::thread::spawn(move || {
        let taken = receive(&listener, Some("204 No Content")).unwrap();
        (taken, listener)
    });
    let asked = json!({"subject": {"type": "User", "id": "ana"}, "client": "C4", "reason_code": "COVERING",
        "justification": "Covering for a colleague on leave",
        "session": {"mfa": true, "idle_seconds": 5, "age_seconds": 60}});
    let granted = sidecar.doors().unix().post("/grants/v1/emergency", &asked).unwrap();
    assert_eq!(granted.status, 201, "{}", granted.body);
    let ((head, body), listener) = receiver.join().unwrap();

    // Reviews of the demo world are past due by the real clock: any of them may be the first.
    let said: Json = serde_json::from_str(&body).unwrap();
    assert!(["grant.opened", "review.overdue"].contains(&said["type"].as_str().unwrap()), "{body}");
    let (id, at) = (header(&head, "webhook-id"), header(&head, "webhook-timestamp"));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let signed = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header(&head, "webhook-signature"), signed);
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n") && !body.contains("C4"), "{head}\n{body}");

    let is_taken = async || {
        let mut transaction = store.read().await.unwrap();
        let row = chaperone::store::Sql::both("SELECT id, sent_at FROM outbox WHERE sent_at IS NOT NULL");
        transaction.row(row, &[]).await.unwrap().map(|row| row.some_text("id").unwrap())
    };
    let end = Instant::now() + DEADLINE;
    let taken = loop {
        if let Some(taken) = is_taken().await {
            break taken;
        }
        assert!(Instant::now() < end, "the answer was not understood");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(taken, id);
    drop(listener);
    drop(sidecar);
}
