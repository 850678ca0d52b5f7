//! EC2's errors: a code, a sentence, a status.

use http::StatusCode;

use crate::Element;

/// Why a call is refused or failed. The codes are those of "Error codes for the Amazon EC2 API".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) status: StatusCode,
}

/// What a call comes to.
pub(crate) type Answer = Result<Element, ApiError>;

impl ApiError {
    /// An error of the caller's.
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: StatusCode::BAD_REQUEST }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// A parameter that must be there is not.
    pub(crate) fn missing(parameter: &str) -> Self {
        let message = format!("The request must contain the parameter {parameter}");
        Self::new("MissingParameter", message)
    }

    /// A parameter has a value that it cannot have.
    pub(crate) fn invalid(parameter: &str, value: &str, wanted: &str) -> Self {
        let message = format!("Value ({value}) for parameter {parameter} is invalid. {wanted}");
        Self::new("InvalidParameterValue", message)
    }

    /// Parameters that do not go together.
    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// Something is in use.
    pub(crate) fn in_use(message: impl Into<String>) -> Self {
        Self::new("DependencyViolation", message)
    }

    /// A resource that its id or name does not lead to.
    pub(crate) fn not_found(code: &str, what: &str, id: &str) -> Self {
        Self::new(code, format!("The {what} '{id}' does not exist"))
    }

    /// The service's own failure.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let error = Self::new("InternalError", message);
        error.with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// There is no room for more instances.
    pub(crate) fn capacity(message: impl Into<String>) -> Self {
        let error = Self::new("InsufficientInstanceCapacity", message);
        error.with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What a dry run comes to when nothing is wrong.
    pub(crate) fn dry_run() -> Self {
        let message = "Request would have succeeded, but DryRun flag is set.";
        Self::new("DryRunOperation", message).with_status(StatusCode::PRECONDITION_FAILED)
    }

    /// The document that tells it.
    pub(crate) fn document(&self, request_id: &str) -> String {
        let error = Element::new("Error").field("Code", &self.code).field("Message", &self.message);
        Element::new("Response")
            .with(Element::new("Errors").with(error))
            .field("RequestID", request_id)
            .to_document(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_has_the_form_that_clients_read() {
        let text = ApiError::missing("ImageId").document("1-2");
        let document = Element::parse(&text).unwrap();
        assert_eq!(document.name(), "Response");
        assert_eq!(document.get("Errors/Error/Code"), Some("MissingParameter"));
        let message = "The request must contain the parameter ImageId";
        assert_eq!(document.get("Errors/Error/Message"), Some(message));
        assert_eq!(document.get("RequestID"), Some("1-2"));
    }
}
