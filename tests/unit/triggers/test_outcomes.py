"""What handlers answer with."""

from headrace.triggers.outcomes import Ack, Reject, Response, Retry


def test_outcomes_compare_by_value() -> None:
    assert Ack() == Ack()
    assert Retry(1.0) != Retry(2.0)
    assert Reject("bad").reason == "bad"
    assert Retry().after_s is None


def test_response_headers_may_repeat() -> None:
    response = Response(b"x", 201, [("Set-Cookie", "a"), ("Set-Cookie", "b")], "text/plain")
    assert response.headers == [("Set-Cookie", "a"), ("Set-Cookie", "b")]
    assert Response(headers={"A": "1"}).headers == [("A", "1")]
    assert Response().headers == []
    assert repr(response) == "Response(status=201, content_type='text/plain')"
