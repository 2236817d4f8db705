//! `chaperone healthcheck`: the image has no curl.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, Uri, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
    output::print,
};
use crate::config::Config;

const AFTER: &str = "\
Examples:
  chaperone healthcheck
  chaperone healthcheck --ready --url http://127.0.0.1:8382

Exit codes:
  0  alive (with --ready: ready)
  1  not, or no answer in time";

/// More than any answer to a probe.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// The health listener [default: the configured one]
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    url: Option<Uri>,
    /// Ask behind this Unix socket whether anything answers at all
    #[arg(long, value_name = "PATH", conflicts_with = "ready")]
    socket: Option<PathBuf>,
    /// Ask for readiness instead of life
    #[arg(long)]
    ready: bool,
    /// Give up after this
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    timeout_ms: u64,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Tcp { address: String, path: String },
    Socket(PathBuf),
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let path = if args.ready { "/readyz" } else { "/livez" };
    let target = match (&args.url, args.socket) {
        (Some(url), _) => Target::from_url(url, path)?,
        (None, Some(socket)) => Target::Socket(socket),
        (None, None) => Target::configured(&context.offline_config(&args.config)?, path)?,
    };
    let limit = Duration::from_millis(args.timeout_ms);
    let answer = context.block_on(async { tokio::time::timeout(limit, target.ask()).await })?;
    let failed =
        |why: String| Failure::new(Exit::CannotRun, "the sidecar is not healthy").at(target.shown()).because(why);
    let (status, body) =
        answer.map_err(|_elapsed| failed(format!("no answer within {limit:?}")))?.map_err(|error| {
            failed(format!("{}", crate::telemetry::Chain(&*error)))
                .next("is it running, and is this its health listener (`server.health.listen`)?")
        })?;
    if !target.is_satisfied_by(status) {
        return Err(failed(format!("it answered {status}: {}", body.trim())));
    }
    print(if args.ready { "ready" } else { "alive" })?;
    Ok(Exit::Done)
}

type AskError = Box<dyn std::error::Error + Send + Sync>;

impl Target {
    fn from_url(url: &Uri, path: &str) -> Result<Self, Failure> {
        let wrong =
            || Failure::new(Exit::Usage, format!("`{url}` is not an address to ask")).next("as http://127.0.0.1:8382");
        if url.scheme_str() != Some("http") {
            return Err(wrong().because("only plain http is asked"));
        }
        let host = url.host().ok_or_else(wrong)?;
        let address = format!("{host}:{}", url.port_u16().unwrap_or(80));
        let path = if matches!(url.path(), "" | "/") { path } else { url.path() };
        Ok(Self::Tcp { address, path: path.to_owned() })
    }

    /// The health listener, or the socket where there is none.
    fn configured(config: &Config, path: &str) -> Result<Self, Failure> {
        match (&config.server.health, &config.server.unix) {
            (Some(health), _) => Ok(Self::Tcp { address: reachable(health.listen).to_string(), path: path.to_owned() }),
            (None, Some(unix)) if path == "/livez" => Ok(Self::Socket(unix.path.clone())),
            (None, _) => Err(Failure::new(Exit::CannotRun, "nothing is configured that could be asked")
                .next("switch `server.health` on, or name --url")),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Tcp { address, path } => format!("http://{address}{path}"),
            Self::Socket(path) => path.display().to_string(),
        }
    }

    /// Behind the socket only callers get answers: any answer but a failure shows life.
    fn is_satisfied_by(&self, status: StatusCode) -> bool {
        match self {
            Self::Tcp { .. } => status.is_success(),
            Self::Socket(_) => !status.is_server_error(),
        }
    }

    async fn ask(&self) -> Result<(StatusCode, String), AskError> {
        match self {
            Self::Tcp { address, path } => get(TcpStream::connect(address), address, path).await,
            Self::Socket(socket) => {
                get(UnixStream::connect(socket), "localhost", "/.well-known/authzen-configuration").await
            }
        }
    }
}

/// A listener on every address is asked on the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn get<S>(
    connect: impl Future<Output = io::Result<S>>,
    host: &str,
    path: &str,
) -> Result<(StatusCode, String), AskError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connect.await?)).await?;
    let request = Request::get(path).header("host", host).header("connection", "close").body(Empty::<Bytes>::new())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok::<_, AskError>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}
