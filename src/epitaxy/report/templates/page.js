"use strict";
(() => {
  const root = document.documentElement, tip = document.getElementById("tip");
  const SVG = "http://www.w3.org/2000/svg";
  const REACH = 26; // of the pointer, in units of the drawing

  // The theme: the reader's setting until the button is used.
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const name = () => { button.textContent = isDark() ? "Light colors" : "Dark colors"; };
  button.hidden = false;
  try { if (localStorage.epitaxy) root.dataset.theme = localStorage.epitaxy; } catch { /* kept off */ }
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.epitaxy = root.dataset.theme; } catch { /* kept off */ }
    name();
  });
  dark.addEventListener("change", name);
  name();

  // What a figure says where the pointer is.
  const say = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(4, x + 14), innerWidth - box.width - 4);
    const above = y - box.height - 12;
    tip.style.left = left + "px";
    tip.style.top = (above > 4 ? above : y + 18) + "px";
  };
  const hush = () => { tip.hidden = true; };
  const ring = (svg, x, y) => {
    const over = svg.querySelector(".over");
    over.replaceChildren();
    if (x === undefined) return;
    const circle = document.createElementNS(SVG, "circle");
    for (const [key, value] of Object.entries({ cx: x, cy: y, r: 6.5, class: "ring" })) {
      circle.setAttribute(key, value);
    }
    over.append(circle);
  };
  const nearest = (points, x, y, reach) => {
    let best = -1, least = reach * reach;
    for (let i = 0; i < points.x.length; i++) {
      if (points.x[i] === null || points.y[i] === null) continue;
      const square = (points.x[i] - x) ** 2 + (points.y[i] - y) ** 2;
      if (square < least) { least = square; best = i; }
    }
    return best;
  };
  const place = (svg, event) => {
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    return [((event.clientX - box.left) / box.width) * view.width,
      ((event.clientY - box.top) / box.height) * view.height];
  };
  // points(): what is drawn, {x, y, text(i)}; mark(i): ring it, here or elsewhere too.
  const answer = (svg, points, mark, clear) => {
    let at = -1;
    const tell = (i) => {
      const own = points(), box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
      at = i;
      mark(i);
      say(own.text(i), box.left + own.x[i] * scale, box.top + own.y[i] * scale);
    };
    const leave = () => { at = -1; hush(); clear(); };
    const move = (event) => {
      const [x, y] = place(svg, event), i = nearest(points(), x, y, REACH);
      if (i < 0) leave(); else if (i !== at) tell(i);
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") leave();
      if (!step) return;
      event.preventDefault();
      const own = points();
      const order = [...own.x.keys()].filter((i) => own.x[i] !== null && own.y[i] !== null)
        .sort((a, b) => own.x[a] - own.x[b] || a - b);
      if (!order.length) return;
      const next = at < 0 ? (step > 0 ? 0 : order.length - 1) : order.indexOf(at) + step;
      tell(order[Math.min(Math.max(next, 0), order.length - 1)]);
    });
  };

  const number = (value, digits = 4) =>
    value === null ? "unknown" : String(Number(value.toPrecision(digits))).replace("-", "\u2212");
  const path = (outline, kind) => {
    const one = document.createElementNS(SVG, "path");
    one.setAttribute("d", outline);
    one.setAttribute("class", kind);
    return one;
  };
  const scaled = ([low, high, start, end]) => (v) => start + ((v - low) / (high - low)) * (end - start);
  const clip = (v, [, , start, end]) => Math.min(Math.max(v, Math.min(start, end)), Math.max(start, end));
  const round = (v) => Math.round(v * 10) / 10;

  const setUp = {
    points(figure, svg, own) {
      const all = { x: own.x, y: own.y, text: (i) => own.text[i] };
      answer(svg, () => all, (i) => ring(svg, own.x[i], own.y[i]), () => ring(svg));
    },

    cells(figure, svg) {
      svg.addEventListener("pointermove", (event) => {
        const cell = event.target.closest("[data-tip]");
        if (cell) say(cell.dataset.tip, event.clientX, event.clientY); else hush();
      });
      svg.addEventListener("pointerleave", hush);
    },

    parity(figure, svg, own, shared) {
      const all = shared[own.from], x = scaled(all.x), y = scaled(all.y);
      let shown = own.shown, drawn;
      const compute = () => {
        const { value, spread } = all.contenders[shown];
        drawn = {
          x: all.truth.map((v, i) => (value[i] === null ? null : round(x(v)))),
          y: value.map((v) => (v === null ? null : round(clip(y(v), all.y)))),
          text: (i) => `${all.ids[i]}\n${all.formulas[i]}\ntrue ${number(all.truth[i])} ${all.unit}\n` +
            `predicted ${number(value[i])}${spread[i] === null ? "" : " \u00b1 " + number(spread[i], 2)} ${all.unit}`,
        };
      };
      compute();
      answer(svg, () => drawn, (i) => ring(svg, drawn.x[i], drawn.y[i]), () => ring(svg));
      const select = figure.querySelector("select");
      figure.querySelector("[data-shown]").hidden = true;
      select.addEventListener("change", () => {
        shown = select.value;
        compute();
        const { value, spread, look, band, middle } = all.contenders[shown];
        let dots = "", bars = "";
        value.forEach((v, i) => {
          if (v === null) return;
          dots += `M${drawn.x[i]} ${drawn.y[i]}h0`;
          if (spread[i] !== null) {
            bars += `M${drawn.x[i]} ${round(clip(y(v - spread[i]), all.y))}V${round(clip(y(v + spread[i]), all.y))}`;
          }
        });
        for (const [part, outline] of Object.entries({ dots, bars, band, middle })) {
          const one = svg.querySelector(`[data-part=${part}]`);
          one.setAttribute("d", outline || "M0 0");
          one.setAttribute("class", one.getAttribute("class").replace(/s\d/, "s" + look));
        }
        svg.querySelector("title").textContent = "Parity of " + shown;
        svg.querySelector("desc").textContent = "";
        ring(svg);
      });
    },

    map(figure, svg, own, shared) {
      const all = shared[own.from], board = figure.closest(".board");
      const scale = (all.side - 16) / 999;
      const choice = (key) => board.querySelector(`select[data-key=${key}]`).value;
      const GLYPHS = [
        (x, y) => `M${x - 2.6} ${y}a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0Z`,
        (x, y) => `M${x - 2.4} ${y - 2.4}h4.8v4.8h-4.8Z`,
        (x, y) => `M${x} ${y - 3.1}l3.1 5.4h-6.2Z`,
        (x, y) => `M${x} ${y - 3.4}l3.4 3.4l-3.4 3.4l-3.4-3.4Z`,
        (x, y) => `M${x - 3} ${y}h6M${x} ${y - 3}v6`,
        (x, y) => `M${x - 2.5} ${y - 2.5}l5 5m0-5l-5 5`,
        (x, y) => `M${x - 2.6} ${y}a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0Z`,
      ];
      let drawn;
      const draw = () => {
        const spots = all.panels[`${own.pretraining}\n${choice("method")}`];
        const color = choice("color"), codes = all.codes[color], outlines = {};
        drawn = {
          x: spots.x.map((v) => (v === null ? null : round(8 + v * scale))),
          y: spots.y.map((v) => (v === null ? null : round(8 + v * scale))),
          text: (i) => `${all.ids[i]}\n${all.formulas[i]}` + Object.values(all.told).map((one) =>
            `\n${one.name}: ${typeof one.values[i] === "number" ? number(one.values[i]) : one.values[i] ?? "unknown"}`).join(""),
        };
        drawn.x.forEach((x, i) => {
          if (x === null) return;
          const code = codes[i], glyph = color === "element" && GLYPHS[code];
          outlines[code] = (outlines[code] ?? "") + (glyph ? glyph(x, drawn.y[i]) : `M${x} ${drawn.y[i]}h0`);
        });
        svg.querySelectorAll(".word").forEach((one, axis) => {
          one.textContent = `${all.names[choice("method")]} ${axis + 1}`;
        });
        const part = svg.querySelector("[data-part=map]");
        part.replaceChildren(...Object.keys(outlines).sort().reverse().map((code) => {
          if (color !== "element") return path(outlines[code], "dots large r" + code);
          return code === "9" ? path(outlines[code], "dots rest") : path(outlines[code], "glyphs s" + code);
        }));
        board.querySelectorAll("[data-legend]").forEach((one) => { one.hidden = one.dataset.legend !== color; });
      };
      figure.spots = () => drawn;
      draw();
      board.querySelectorAll(".choices select").forEach((one) => one.addEventListener("change", () => { hush(); draw(); }));
      const others = () => [...board.querySelectorAll("figure")];
      answer(svg, () => drawn,
        (i) => others().forEach((one) => {
          const spots = one.spots();
          ring(one.querySelector("svg.chart"), ...(spots.x[i] === null ? [] : [spots.x[i], spots.y[i]]));
        }),
        () => others().forEach((one) => ring(one.querySelector("svg.chart"))));
    },
  };

  document.querySelectorAll(".control").forEach((one) => { one.hidden = false; });
  const shared = {}, found = [];
  document.querySelectorAll("figure > script[type='application/json']").forEach((script) => {
    const own = JSON.parse(script.textContent), figure = script.parentElement;
    if (own.shared) shared[own.from] = own.shared;
    found.push([figure, figure.querySelector("svg.chart"), own]);
  });
  found.forEach(([figure, svg, own]) => setUp[own.kind](figure, svg, own, shared));

  // Tables sort by their headings: numbers by value, what is missing last.
  const key = (cell) => {
    const text = cell.textContent.trim().replace(/\u2212/g, "-").replace(/,(?=\d{3})/g, "");
    return cell.classList.contains("number") ? parseFloat(text) : text.toLowerCase();
  };
  document.querySelectorAll("table").forEach((table) => {
    const body = table.tBodies[0];
    if (body.rows.length < 3) return;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const control = document.createElement("button");
      control.type = "button";
      control.append(...heading.childNodes);
      heading.append(control);
      control.addEventListener("click", () => {
        const down = heading.getAttribute("aria-sort") === "ascending";
        [...table.tHead.rows[0].cells].forEach((one) => one.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
        rows.sort(([a], [b]) => {
          const lost = (v) => v === "" || v === "\u2013" || Number.isNaN(v);
          if (lost(a) || lost(b)) return lost(a) - lost(b);
          return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  });

  // Everything is open on paper.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => {
    one.dataset.was = one.open;
    one.open = true;
  }));
  addEventListener("afterprint", () => document.querySelectorAll("details").forEach((one) => {
    one.open = one.dataset.was === "true";
  }));
})();
