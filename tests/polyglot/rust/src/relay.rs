//! Calls of a running relay.

use std::error::Error;
use std::iter;
use std::time::{Duration, Instant};

use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, TimeoutExpired};
use tonic_types::{StatusExt, pb};

use crate::{Check, Report};
use chatpb::v1;
use chatpb::v1::chat_completion_service_client::ChatCompletionServiceClient;

type Client = ChatCompletionServiceClient<Channel>;

/// In what time a call that is ended has ended.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long a call may take: longer than any takes that is answered.
const LIMIT: Duration = Duration::from_secs(30);

const TIMER: &str = "tonic's own timer may end the call before DEADLINE_EXCEEDED comes, as \
    CANCELLED with TimeoutExpired as its source";

/// Checks every kind of call.
pub async fn check(address: &str, report: &mut Report) {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let client = Client::new(endpoint.connect_lazy());
    report.add("relay", "unary", unary(client.clone()).await);
    report.add("relay", "stream", stream(client.clone()).await);
    report.add("relay", "compact", compact(client.clone()).await);
    report.add("relay", "cancel", cancel(client.clone()).await);
    match deadline(client.clone()).await {
        Ok(()) => report.limit("relay", "deadline", TIMER),
        failed => report.add("relay", "deadline", failed),
    }
    report.add("relay", "error", error(client).await);
}

async fn unary(mut client: Client) -> Check {
    let text = answer(&mut client).await?;
    ensure(!text.is_empty(), || "the answer has no text".into())
}

async fn stream(mut client: Client) -> Check {
    let wanted = answer(&mut client).await?;
    let responses = responses(&mut client, false).await?;
    let found: String = responses
        .iter()
        .flat_map(|each| &each.chunks)
        .map(text_of)
        .collect();
    expect(&wanted, &found)
}

async fn compact(mut client: Client) -> Check {
    let whole = responses(&mut client, false).await?;
    let wanted: String = whole
        .iter()
        .flat_map(|each| &each.chunks)
        .map(text_of)
        .collect();
    let responses = responses(&mut client, true).await?;
    let is_compact = responses.iter().any(|each| !each.compact_chunks.is_empty());
    ensure(is_compact, || "no chunk came compact".into())?;
    let mut restorer = chatpb::Restorer::new();
    let mut chunks = Vec::new();
    for response in &responses {
        chunks.extend(restorer.add(response).map_err(|error| error.to_string())?);
    }
    expect(&wanted, &chunks.iter().map(text_of).collect())?;
    let folded = chatpb::fold_messages(&chunks).map_err(|error| error.to_string())?;
    let message = folded
        .choices
        .first()
        .and_then(|choice| choice.message.as_ref());
    expect(
        &wanted,
        &message.map_or("", |message| message.content()).into(),
    )
}

/// Dropping a stream cancels its call: tonic says so to the relay, and has no status for it here.
async fn cancel(mut client: Client) -> Check {
    let request = v1::StreamChatCompletionRequest {
        request: Some(request("slow")),
        compact: false,
    };
    let mut stream = client
        .stream_chat_completion(request)
        .await
        .map_err(told)?
        .into_inner();
    let first = stream.message().await.map_err(told)?;
    ensure(first.is_some(), || {
        "the stream ended before its first message".into()
    })?;
    let start = Instant::now();
    drop(stream);
    answer(&mut client).await?; // on the same connection, which is free for it
    ensure(start.elapsed() < AT_ONCE, || {
        "the call did not end at once".into()
    })
}

async fn deadline(mut client: Client) -> Check {
    let mut request = Request::new(v1::CreateChatCompletionRequest {
        request: Some(request("slow")),
    });
    request.set_timeout(Duration::from_millis(200));
    let start = Instant::now();
    let status = refused(client.create_chat_completion(request).await)?;
    ensure(start.elapsed() < AT_ONCE, || {
        "the call did not end at once".into()
    })?;
    let mut sources = iter::successors(status.source(), |&error| error.source());
    let by_timer = sources.any(|error| error.is::<TimeoutExpired>());
    ensure(by_timer || status.code() == Code::DeadlineExceeded, || {
        told(status.clone())
    })
}

async fn error(mut client: Client) -> Check {
    let request = v1::ChatCompletionRequest {
        temperature: Some(9.0),
        ..request("m")
    };
    let call = limited(v1::CreateChatCompletionRequest {
        request: Some(request),
    });
    let status = refused(client.create_chat_completion(call).await)?;
    expect(
        &format!("{:?}", Code::InvalidArgument),
        &format!("{:?}", status.code()),
    )?;
    let details = pb::Status::decode(status.details()).map_err(|error| error.to_string())?;
    let detail = details
        .details
        .iter()
        .find(|any| any.type_url.ends_with("/chatpb.v1.ErrorResponse"))
        .ok_or("no detail is an ErrorResponse")?;
    let response = v1::ErrorResponse::decode(&*detail.value).map_err(|error| error.to_string())?;
    let error = response.error.ok_or("the ErrorResponse has no error")?;
    expect(
        &status.message().to_owned(),
        &error.message.unwrap_or_default(),
    )?;
    expect(
        &"invalid_request_error".to_owned(),
        &error.r#type.unwrap_or_default(),
    )?;
    expect(&"temperature".to_owned(), &error.param.unwrap_or_default())?;
    let info = status
        .get_details_request_info()
        .ok_or("no detail is a RequestInfo")?;
    ensure(!info.request_id.is_empty(), || {
        "the RequestInfo has no id".into()
    })
}

/// A request that says "ping".
fn request(model: &str) -> v1::ChatCompletionRequest {
    v1::ChatCompletionRequest {
        model: Some(model.into()),
        messages: vec![v1::ChatCompletionMessageParam {
            role: Some(v1::Role::User.into()),
            content: Some(v1::MessageContent {
                text: Some("ping".into()),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The text of the answer of a unary call.
async fn answer(client: &mut Client) -> Result<String, String> {
    let call = limited(v1::CreateChatCompletionRequest {
        request: Some(request("m")),
    });
    let response = client
        .create_chat_completion(call)
        .await
        .map_err(told)?
        .into_inner();
    let completion = response
        .completion
        .ok_or("the response has no completion")?;
    let choice = completion
        .choices
        .into_iter()
        .next()
        .ok_or("there is no choice")?;
    Ok(choice
        .message
        .and_then(|message| message.content)
        .unwrap_or_default())
}

/// The responses of a stream.
async fn responses(
    client: &mut Client,
    compact: bool,
) -> Result<Vec<v1::StreamChatCompletionResponse>, String> {
    let request = Some(request("m"));
    let call = limited(v1::StreamChatCompletionRequest { request, compact });
    let mut stream = client
        .stream_chat_completion(call)
        .await
        .map_err(told)?
        .into_inner();
    let mut found = Vec::new();
    while let Some(response) = stream.message().await.map_err(told)? {
        found.push(response);
    }
    Ok(found)
}

/// The text that a chunk adds to the first choice.
fn text_of(chunk: &v1::ChatCompletionChunk) -> &str {
    let first = chunk.choices.iter().find(|choice| choice.index == 0);
    let delta = first.and_then(|choice| choice.delta.as_ref());
    delta.map_or("", |delta| delta.content())
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(LIMIT);
    request
}

fn refused<T>(result: Result<T, Status>) -> Result<Status, String> {
    result.err().ok_or_else(|| "the call was answered".into())
}

fn told(status: Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn expect(wanted: &String, found: &String) -> Check {
    ensure(wanted == found, || {
        format!("expected {wanted:?}, got {found:?}")
    })
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(reason()) }
}
