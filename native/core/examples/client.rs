//! Calls a relay: once for a whole answer, once for a compact stream.
//!
//!     cargo run --example client --features tonic -- http://127.0.0.1:50051 MODEL PROMPT

use chatpb::Restorer;
use chatpb::v1::chat_completion_service_client::ChatCompletionServiceClient;
use chatpb::v1::{
    ChatCompletionMessageParam, ChatCompletionRequest, CreateChatCompletionRequest, MessageContent,
    Role, StreamChatCompletionRequest,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, model, prompt] = &arguments[..] else {
        return Err("usage: client ADDRESS MODEL PROMPT".into());
    };
    let message = ChatCompletionMessageParam {
        role: Some(Role::User.into()),
        content: Some(MessageContent {
            text: Some(prompt.clone()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = ChatCompletionRequest {
        model: Some(model.clone()),
        messages: vec![message],
        ..Default::default()
    };
    let mut client = ChatCompletionServiceClient::connect(address.clone()).await?;

    let call = CreateChatCompletionRequest {
        request: Some(request.clone()),
    };
    let response = client.create_chat_completion(call).await?.into_inner();
    println!(
        "{}",
        chatpb::to_json(&response.completion.unwrap_or_default())?
    );

    let call = StreamChatCompletionRequest {
        request: Some(request),
        compact: true,
    };
    let mut stream = client.stream_chat_completion(call).await?.into_inner();
    let (mut restorer, mut chunks) = (Restorer::new(), Vec::new());
    while let Some(response) = stream.message().await? {
        chunks.extend(restorer.add(&response)?);
    }
    println!("{}", chatpb::to_json(&chatpb::fold_messages(&chunks)?)?);
    Ok(())
}
