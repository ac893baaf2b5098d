"""The service's addresses: what is asked, in which order it is looked at, and what is answered."""

import asyncio
import hmac
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from ..contracts.errors import UserError
from ..version import __version__
from .answers import FROM_PHOTO, Drawn, answer_of
from .given import Decoder, Given, Page, all_sound, pages_in_uploads
from .limits import Budgets, Limits, Refusal, refusal
from .pages import HEADERS, described, drop_page
from .scorer import Answer, Scorer
from .uploads import Upload, announced_bytes, request_body, uploads_in

_DECODERS: Final = 4
"""Images decoded at once: one of 100 megapixels takes over half a gigabyte on its way."""

_PICTURES: Final = f"a picture to send with each answer, one of {', '.join(Drawn)}; it may be given several times"
_WHY: Final = {
    400: "The form cannot be read.", 401: "The token is missing or wrong.", 408: "The request did not arrive in time.",
    411: "The request does not say how long it is.", 413: "The request is too large, or has too many images.",
    415: "It is neither a form with files nor JSON.", 421: "The address is not one of this service's.",
    422: "An image cannot be used: `faults` says which, why, and what to do.",
    429: "Too many images are waiting; Retry-After says when to ask again.", 500: "The model could not score it.",
    503: "The service is ending, or has too many connections.", 504: "There was no answer in time.",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask: whoever knows the token or, without one, whoever calls the service by one of its own `hosts`.

    That keeps pages of other sites, whose names could be made to lead here, from asking in a browser.
    """

    token: str | None = None
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "[::1]"})

    @classmethod
    def of(cls, host: str, token: str | None) -> "Access":
        """Return who may ask a service that listens on `host`."""
        own = f"[{host}]" if ":" in host else host
        return cls(token=token, hosts=cls.hosts | {own})

    async def __call__(self, request: Request) -> None:
        """Raise `Refusal` for others."""
        if self.token is None:
            host = request.headers.get("host", "").lower()
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if name not in self.hosts:
                raise refusal(
                    421, "the address is not one of this service's", "ask it by its own, or start it with --token"
                )
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            fix = "send the header Authorization: Bearer TOKEN"
            raise refusal(401, "the token is missing or wrong", fix, WWW_Authenticate="Bearer")


class Service:
    """Answers requests for one model, within limits."""

    def __init__(self, scorer: Scorer, limits: Limits) -> None:
        self.scorer, self.limits, self.budgets = scorer, limits, Budgets(limits)
        self.decoder = Decoder(
            side=scorer.model.evaluator.pixels.size, most_pixels=limits.pixels, tiles=scorer.scoring.tiles,
            looked_at=scorer.scoring.looked_at,
        )  # fmt: skip
        self._pool = ThreadPoolExecutor(_DECODERS)

    async def predict(self, request: Request, drawn: set[Drawn]) -> list[Answer]:
        """Answer each picture of a request, in its order. Raises `Refusal`."""
        until = asyncio.get_running_loop().time() + self.limits.seconds
        with self.budgets.bodies.taking(announced_bytes(request)):
            try:
                async with asyncio.timeout_at(until):
                    uploads = await uploads_in(request, self.limits.images)
            except TimeoutError:
                fix = "send smaller images, or start the service with a longer --timeout"
                raise refusal(408, "the request did not arrive in time", fix) from None
            try:
                async with asyncio.timeout_at(until):
                    return await self._answers(uploads, drawn)
            except TimeoutError:
                problem = f"there was no answer within {self.limits.seconds:g} s"
                raise refusal(504, problem, "send fewer images, or start the service with a longer --timeout") from None

    async def _answers(self, uploads: Sequence[Upload], drawn: set[Drawn]) -> list[Answer]:
        loop, shown = asyncio.get_running_loop(), bool(drawn & FROM_PHOTO)
        with ExitStack() as taken:
            taken.enter_context(self.budgets.images.taking(len(uploads)))
            pages = await loop.run_in_executor(self._pool, pages_in_uploads, uploads)
            self.budgets.images.check(len(pages))
            taken.enter_context(self.budgets.images.taking(len(pages) - len(uploads)))
            given = all_sound(await asyncio.gather(*(self._decoded(page, shown) for page in pages)))
            taken.enter_context(self.budgets.pictures.taking(sum(one.bytes for one in given)))
            waiting = [asyncio.wrap_future(self.scorer.submit(one, self._maker(one, drawn))) for one in given]
            try:
                return await asyncio.gather(*waiting)
            except Exception:
                for one in waiting:
                    one.cancel()
                fix = "look at what the service has printed"
                raise refusal(500, "the model could not score it", fix) from None

    async def _decoded(self, page: Page, shown: bool) -> Given | UserError:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.decoder.decoded, page, shown)

    def _maker(self, given: Given, drawn: set[Drawn]) -> Any:
        shown = self.scorer.model.model.shown
        return partial(answer_of, name=given.name, shown=shown, photo=given.shown, drawn=drawn)

    def model(self) -> dict[str, Any]:
        """Return what the images are scored with."""
        model, scoring = self.scorer.model, self.scorer.scoring
        (name,), thresholds = self.scorer.names, scoring.thresholds
        return {
            "model": model.trained.checkpoint.name,
            "sha256": model.checksum,
            "experiment": model.trained.experiment.file.name,
            "version": __version__,
            "class": name,
            "real_name": self.scorer.names[name],
            "domain": scoring.domain,
            "image_size": model.evaluator.pixels.size,
            "threshold": thresholds.image,
            "map_threshold": thresholds.map,
            "good_scores": len(thresholds.good_scores or ()),
            "least_area": scoring.least_area,
            "tiles": scoring.tiles,
            "limits": {
                "bytes": self.limits.bytes, "pixels": self.limits.pixels, "images": self.limits.images,
                "seconds": self.limits.seconds,
            },
        }  # fmt: skip


def application(service: Service, access: Access) -> FastAPI:
    """Return the service as a program that a web server runs."""
    app = FastAPI(
        title="aakit serve", version=__version__, docs_url=None, redoc_url=None,
        description="A trained model that scores images: how anomalous they are, and where.",
    )  # fmt: skip
    _add_handlers(app)
    why: dict[int | str, dict[str, Any]] = {status: {"description": text} for status, text in _WHY.items()}
    guarded = [Depends(access)]

    @app.post("/predict", summary="Score images", responses=why, dependencies=guarded,
              openapi_extra={"requestBody": request_body()})  # fmt: skip
    async def predict(
        request: Request, pictures: Annotated[Sequence[Drawn], Query(description=_PICTURES)] = ()
    ) -> JSONResponse:
        """Answer each image in the order in which they are sent; a file of several pages has an answer for each."""
        return JSONResponse({"results": await service.predict(request, set(pictures))})

    @app.get("/model", summary="What the images are scored with", dependencies=guarded)
    async def model() -> JSONResponse:
        """Name and checksum of the model, what the object is called, thresholds and limits."""
        return JSONResponse(await asyncio.to_thread(service.model))

    @app.get("/health", summary="Whether images are scored")
    async def health() -> JSONResponse:
        """How many images are waiting; 503 where none is scored any more."""
        alive = service.scorer.is_alive
        body = {"status": "ok" if alive else "ended", "waiting": service.budgets.images.taken}
        return JSONResponse(body, 200 if alive else 503)

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(drop_page(), headers=HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(described(app.openapi()), headers=HEADERS)

    return app


def _add_handlers(app: FastAPI) -> None:
    """Let every error have the one form."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, refused: Refusal) -> JSONResponse:
        return JSONResponse(refused.body, refused.status, refused.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        fault = refusal(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", "see /docs")
        return JSONResponse(fault.body, 422)

    @app.exception_handler(HTTPException)
    async def failed(_: Request, error: HTTPException) -> JSONResponse:
        fault = refusal(error.status_code, str(error.detail), "see /docs")
        return JSONResponse(fault.body, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        fault = refusal(500, "the service has failed", "look at what it has printed")
        return JSONResponse(fault.body, 500)
