"""How the gateway fails (spec/fiches §1, mapping).

Both errors say whether the same call may fare better later, and how long the gateway asked to wait: one layer above
retries by that (`crm.retry`), this one never does.
"""

from conforme.foundation.errors import External, NotFound


class FicheNotFound(NotFound):
    """The gateway does not know the fiche.

    Retryable when it was said by an HTTP 404: under load the gateway sends some for fiches it has.
    """

    def __init__(self, fiche_id: str, *, retryable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(f"Fiche {fiche_id} not found")
        self.retryable = retryable
        self.retry_after = retry_after


class GatewayFailed(External):
    """The CRM gateway could not be reached, or did not answer as agreed."""
