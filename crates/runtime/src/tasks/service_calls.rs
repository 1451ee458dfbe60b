//! Calls of operators to the services of a studio.

use super::Shared;
use super::operator_calls::NoEnd;
use bytes::Bytes;
use pelago_game::Refusal;
use pelago_model::{Key, Role};
use pelago_node::call::CallError;
use serde_json::Value;

impl Shared {
    /// Asks a service of the studio, in JSON. Those of the platform answer nobody but the platform.
    ///
    /// # Errors
    /// The service has not answered; as `unknown`, nobody knows what it did.
    pub(crate) async fn call_service(
        &self,
        to: (Role, Key),
        body: impl Into<Bytes>,
    ) -> Result<Value, Refusal> {
        if !self.studio_roles.contains(&to.0) {
            return Err(Refusal::new("no_such_service", "This game has no service of that role."));
        }
        let number = self.next_connection();
        match self.operator_call(number, to, body.into()).await {
            Ok(Ok(answer)) => serde_json::from_slice(&answer).map_err(|_| {
                Refusal::new("not_json", "The service has answered, but not in JSON.")
            }),
            Ok(Err(CallError::Rejected(code))) if code != "busy" => {
                let sentence = format!("The service has rejected the call: {code}.");
                Err(Refusal { code: "rejected".into(), sentence: sentence.into() })
            }
            Ok(Err(CallError::Rejected(_) | CallError::Unreachable)) | Err(NoEnd::Busy) => {
                Err(Refusal::new("busy", "Nothing was done: ask again later."))
            }
            Ok(Err(CallError::DeadlineExceeded | CallError::LinkLost)) | Err(NoEnd::Late) => {
                let sentence = "The call may have been carried out or not.";
                Err(Refusal::new("unknown", sentence))
            }
        }
    }
}
