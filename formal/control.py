"""Decoder and dispatcher: nothing outside the table of instructions is executed."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Signal

from formal.bench import Bench
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.contract.isa import LAYOUTS, MAX_SOURCES, MAX_TABLE, Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.control import decoder as decoding
from fpga_gen.hardware.control import dispatcher as dispatching

PARAMS = EngineParams()


def executed(op):
    """Whether the decoder executes it itself."""
    return Cat(op == kind for kind in (Op.FETCH, Op.PAGE, Op.TABLE)).any()


def possible_walk(walk):
    """The fields of a CONV or POOL that the walker relies on, from docs/isa.md."""
    counts = (walk.n_blocks, walk.n_taps, walk.n_tiles, walk.tile_groups, walk.n_groups, walk.lanes)
    return (
        Cat(count.any() for count in counts).all()
        & (walk.tile_groups <= PARAMS.tile_groups)
        & Cat(walk.mode == mode - 1 for mode in PARAMS.modes).any()
        & ((walk.op != Op.POOL) | ~walk.list_words.any())
    )


def possible_vector(vector):
    """The fields of a VECTOR that the vector unit relies on."""
    tables = (
        vector.y_words.any() & vector.x_words.any()
        & (vector.y_words <= MAX_TABLE // 2) & (vector.x_words <= MAX_TABLE // 2)
    )  # fmt: skip
    small = (vector.y_words <= MAX_TABLE // 2) & (vector.x_words <= MAX_TABLE // 2)
    return (
        Cat(c.any() for c in (vector.n_blocks, vector.n_sources, vector.out_h, vector.out_w)).all()
        & (vector.n_sources <= MAX_SOURCES)
        & ~(vector.pair & (PARAMS.vector_pixels == 1))
        & small
        & (vector.direct | tables)
    )


def decoder() -> Bench:
    dut = decoding.Decoder(PARAMS)
    b = Bench(dut)
    header, checks = dut.decoded.payload, dut.checks
    walk, vector, op = header.walk, header.vector, header.walk.op

    def at(*names: str):
        return Cat(dut.now[name] for name in names).any()

    tables = decoding.TABLES
    b.prove(sum(dut.now.values()) == 1, "not one state")
    walks = (op == Op.CONV) | (op == Op.POOL)
    b.prove(~dut.decoded.valid | (op <= max(Op)), "an opcode outside the table")
    b.prove(~dut.decoded.valid | ~executed(op), "not for the dispatcher")
    before = b.past(header.as_value(), "header")
    b.prove(~dut.decoded.valid | (~b.first & (header.as_value() == before)),
            "a header that does not stand a cycle before")  # fmt: skip
    b.prove(~dut.decoded.valid | ~walks | possible_walk(walk), "an impossible CONV or POOL")
    b.prove(
        ~dut.decoded.valid | (op != Op.VECTOR) | possible_vector(vector), "an impossible VECTOR"
    )
    ordered = Cat(op == o for o in (Op.CONV, Op.VECTOR, Op.LOAD, Op.PAGE)).any()
    b.prove(~dut.order.valid | ordered, "an order that no instruction gives")
    b.prove(~dut.order.valid | (op != Op.CONV) | possible_walk(walk), "an impossible order")
    b.prove(~dut.order.valid | (op != Op.PAGE) | dut.program.page_words.any(), "an empty PAGE")
    b.stable(dut.decoded.valid, dut.decoded.ready, header.as_value(), what="decoded")
    b.stable(dut.order.valid, dut.order.ready, dut.order.payload.as_value(), what="order")
    b.stable(dut.fetch.valid, dut.fetch.ready, dut.fetch.payload.as_value(), what="fetch")
    # After a failure nothing is decoded, ordered or written.
    b.prove(~b.past(dut.failed, "failed") | at("STOPPED"), "goes on after a failure")
    b.prove(~b.past(at("STOPPED"), "stopped") | at("STOPPED"), "does not stay stopped")
    works = (
        dut.decoded.valid | dut.order.valid | dut.block_write | dut.tap_write | dut.list_write
        | dut.program.want | dut.tables.source_write | dut.tables.y_write | dut.tables.x_write
        | dut.program.page
    )  # fmt: skip
    b.prove(~at("STOPPED") | ~works, "works when stopped")
    # Places in the tables.
    index, left, final = dut.table_index, dut.left, dut.final
    for state, count in (
        ("BLOCKS", walk.n_blocks), ("TAPS", walk.n_taps), ("LISTS", walk.list_words),
        ("SOURCES", vector.n_sources << 1), ("Y_TABLE", vector.y_words),
        ("X_TABLE", vector.x_words),
    ):  # fmt: skip
        b.prove(~at(state) | (index < count), f"{state}: a word outside the table")
        b.prove(~at(state) | ((index + left) == count), f"{state}: words left")
        b.prove(~at(state) | (final == (left == 1)), f"{state}: the last word is not known")

    complete = b.signal("complete")
    # Invariants.
    b.prove(dut.in_table == at(*tables), "the register of the tables")
    b.prove(~dut.now["LOOKUP"], "a table of activations without activations")
    # What the check found holds while the header does.
    decided = at("CHECK", "ORDER", "DECODED", *tables)
    b.prove(~decided | (header.as_value() == before), "the header changes")
    kinds = {
        "walk": walks, "vector": op == Op.VECTOR, "fetch": op == Op.FETCH, "load": op == Op.LOAD,
        "page": op == Op.PAGE, "table": op == Op.TABLE,
    }  # fmt: skip
    for name, kind in kinds.items():
        b.prove(
            ~decided | (getattr(dut.checks, f"is_{name}") == kind),
            f"is_{name} is of another header",
        )
    listed = (op == Op.CONV) & walk.list_words.any()
    b.prove(~decided | (checks.listed == listed), "listed is of another header")
    words, last = b.signal("at"), b.signal("last_header_word")
    taken = words != 0
    length = Array(LAYOUTS[Op(n)].words if n in set(Op) else 1 for n in range(1 << len(op)))[op]
    amid = at("HEADER") & taken & ~complete
    b.prove(~amid | (words < length), "more words than the header has")
    b.prove(~amid | (last == (words + 1 == length)), "the last word of a header is not known")
    b.prove(~at("LENGTH") | (words == 1), "a length after the first word")
    b.prove(
        ~(at("HEADER") & taken) | (checks.unknown == (op > max(Op))),
        "unknown is of another one",
    )
    b.prove(at("HEADER", "LENGTH", "STOPPED") | ~taken, "words of a header outside HEADER")
    b.prove(~(complete | at("LENGTH")) | taken, "complete without a word")
    b.prove(~complete | at("HEADER"), "complete outside HEADER")
    b.prove(dut.in_words == (at("HEADER") & ~complete), "the register of the header's words")
    b.prove(
        at("IDLE", "HEADER", "LENGTH", "STOPPED", "PAGE", "PAGED") | (op <= max(Op)), "the opcode"
    )
    b.prove(~at("BLOCKS", "TAPS") | (walks & possible_walk(walk)), "tables of a walk")
    b.prove(~at("LISTS") | ((op == Op.CONV) & possible_walk(walk)), "lists of a CONV")
    b.prove(~at("LISTS") | (walk.list_words != 0), "lists of a CONV without")
    b.prove(~at("TAPS") | (walk.n_blocks != 0), "taps")
    b.prove(
        ~at("SOURCES", "Y_TABLE", "X_TABLE") | ((op == Op.VECTOR) & possible_vector(vector)),
        "tables of a VECTOR",
    )
    b.prove(~at("Y_TABLE", "X_TABLE") | ~vector.direct, "tables of a direct VECTOR")
    b.prove(~at("ORDER") | ordered, "order")
    b.prove(~at("ORDER") | ~walks | possible_walk(walk), "order of a walk")
    b.prove(~at("ORDER") | (op != Op.VECTOR) | possible_vector(vector), "order of a VECTOR")
    for name, legal in (
        ("wrong_walk", possible_walk(walk)), ("wrong_vector", possible_vector(vector)),
        ("wrong_page", dut.program.page_words.any()),
    ):  # fmt: skip
        b.prove(~at("CHECK") | (getattr(checks, name) == ~legal), f"{name} is of another header")
    for name in ("n_blocks", "n_taps", "list_words", "y_words", "x_words"):
        field = getattr(vector if name in ("y_words", "x_words") else walk, name)
        b.prove(
            ~at("CHECK", *tables) | (checks.single[name] == (field == 1)),
            f"single_{name} is of another header",
        )
    b.cover(dut.decoded.valid & (op == Op.CONV), "a CONV")
    b.cover(dut.decoded.valid & (op == Op.VECTOR) & ~vector.direct, "a VECTOR with tables")
    b.cover(dut.failed & (op == 9), "an opcode outside the table")
    b.cover(at("PAGED"), "a PAGE")
    return b


def dispatcher() -> Bench:
    dut = dispatching.Dispatcher()
    b = Bench(dut)
    m = b.m
    header = dut.decoded.payload
    op, units = header.walk.op, dut.units
    # The decoder keeps what it offers, and offers only these (see its proof).
    waits = b.past(dut.decoded.valid & ~dut.decoded.ready, "waits")
    before = b.past(header.as_value(), "header")
    b.assume(~waits | dut.decoded.valid)
    b.assume(~dut.decoded.valid | (~b.first & (header.as_value() == before)))
    b.assume(~dut.decoded.valid | ((op <= max(Op)) & ~executed(op)))
    begins = {
        Op.CONV: dut.walk.start, Op.POOL: dut.walk.start, Op.VECTOR: dut.vector.start,
        Op.LOAD: dut.load.start, Op.STORE: dut.store.start, Op.END: dut.done,
    }  # fmt: skip
    pulses = {id(p): p for p in begins.values()}.values()
    many = Signal(4)
    m.d.comb += many.eq(sum(pulses))
    b.prove(many <= 1, "two units start at once")
    going = b.past(b.past(dut.dispatched, "going"), "going_2")
    b.prove(~many.any() | going, "a unit starts by itself")
    b.prove(~going | (many == 1), "an instruction is lost")
    for kind, pulse in begins.items():
        b.prove(~pulse | Cat(op == k for k, p in begins.items() if p is pulse).any(),
                "another unit starts")  # fmt: skip
        b.prove(~(going & (op == kind)) | pulse, "its unit does not start")
    b.prove(~going | (dut.walk.header.as_value() == header.as_value()), "another header")
    # Rules of docs/isa.md: when an instruction may start.
    busy = units.walker_busy | units.vector_busy | units.load_busy
    b.prove(~dut.dispatched | ~busy, "starts beside a unit that works")
    b.prove(~dut.dispatched | ~header.walk.wait | units.exit_idle, "does not wait for results")
    b.prove(
        ~dut.dispatched | ((op != Op.END) & (op != Op.STORE)) | ~units.store_busy,
        "does not wait for the store unit",
    )
    b.prove(~dut.dispatched | (op != Op.END) | units.exit_idle, "ends before the last result")
    b.prove(~dut.dispatched | (op != Op.VECTOR) | units.params_ready, "a VECTOR without parameters")
    decide, take, start, stopped = (
        b.state("dispatcher", n) for n in ("DECIDE", "TAKE", "START", "STOPPED")
    )
    b.prove(Cat(decide, take, start, stopped).any(), "no state")
    b.prove(take == b.past(dut.dispatched, "d1"), "TAKE")
    b.prove(start == going, "START")
    b.prove(~(take | start) | dut.decoded.valid, "the decoded instruction is gone")
    # What the rules decide on is of the header that stands.
    for name, ops in (
        ("after_store", (Op.STORE, Op.END)), ("has_params", (Op.VECTOR,)),
    ):  # fmt: skip
        of = Cat(op == o for o in ops).any()
        b.prove(~dut.decoded.valid | (b.signal(name) == of), f"{name} is of another header")
    b.prove(~b.past(dut.done, "done") | stopped, "goes on after END")
    b.prove(~b.past(stopped, "stopped") | stopped, "does not stay stopped")
    b.prove(~stopped | (~dut.dispatched & ~many.any()), "works when stopped")
    b.cover(dut.done, "END")
    b.cover(dut.vector.start, "VECTOR")
    return b


PROOFS = (
    Proof(
        "decoder",
        "Decoder",
        "no opcode outside the table and no impossible field is dispatched or ordered, table words "
        "stay inside their tables, nothing happens after a failure, stable outputs, a header that "
        "stands a cycle before it is valid",
        decoder,
        depth=2,
        cover_depth=30,
        mutations=(
            Mutation("control.header_checks", "walk.op > max(Op)", "walk.op > max(Op) + 1"),
            Mutation("control.decoder", "& ~self.fetch.valid & ~self.checks.unwritten",
                     "& ~self.checks.unwritten"),
            Mutation("control.decoder", "self.final.eq(self.left == 2)",
                     "self.final.eq(self.left == 1)"),
            Mutation("control.decoder", "checks.is_page & checks.wrong_page,", "0,"),
        ),
    ),
    Proof(
        "dispatcher",
        "Dispatcher",
        "every instruction starts exactly its unit, once, with its header, and no sooner than its "
        "rules of waiting allow; nothing starts after END",
        dispatcher,
        depth=3,
        cover_depth=8,
        mutations=(
            Mutation("control.dispatcher", "units.store_busy & after_store", "0"),
            Mutation("control.dispatcher", "units.exit_idle | ~alone", "1"),
            Mutation("control.dispatcher", "self.decoded.valid & may_start", "may_start"),
        ),
    ),
)  # fmt: skip
