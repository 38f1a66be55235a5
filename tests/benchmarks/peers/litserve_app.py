"""LitServe: answers `{"o": n}` to `{"n": n}`; argv: port."""

import sys
from typing import Any

import litserve


class Echo(litserve.LitAPI):  # type: ignore[misc]
    """Does nothing else."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: Any) -> Any:
        return request["n"]

    def predict(self, x: Any) -> Any:
        return x

    def encode_response(self, output: Any) -> Any:
        return {"o": output}


if __name__ == "__main__":
    server = litserve.LitServer(Echo(api_path="/"), accelerator="cpu")
    server.run(
        port=int(sys.argv[1]), host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="error"
    )
