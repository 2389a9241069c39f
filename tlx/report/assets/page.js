// Draws the charts with Vega, and lets the table of cells be sorted, filtered and copied from. What is said of a
// study is in JSON elements of the page; it becomes text or numbers here, never markup.
(() => {
  "use strict";
  const read = (element) => JSON.parse(element.textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;

  async function draw(figure, data) {
    const plot = figure.querySelector(".plot");
    const spec = read(figure.querySelector("script"));
    const names = figure.dataset.rows.split(" ");
    spec.datasets = Object.fromEntries(names.map((name) => [name, data[name]]));
    const panel = Number(figure.dataset.panel);
    const room = plot.clientWidth;
    if (panel) {
      const columns = spec.columns = Math.max(1, Math.min(spec.columns, Math.floor(room / panel)));
      // What is left beside the axis and between the panels.
      if (!figure.dataset.fixed) spec.spec.width = Math.min(460, Math.floor((room - 75 - 26 * (columns - 1)) / columns));
    } else spec.width = "container";
    spec.config.legend.columns = Math.max(2, Math.floor(room / 140));
    await vegaEmbed(plot, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true,
      tooltip: { theme: dark ? "dark" : "light" },
    });
    figure.classList.add("drawn");
  }

  async function drawAll() {
    const data = read(document.getElementById("data"));
    for (const figure of document.querySelectorAll("figure.chart")) {
      await draw(figure, data).catch((error) => {
        figure.querySelector(".plot").textContent = "This chart could not be drawn: " + error.message;
        console.error(error);
      });
      await new Promise((resume) => setTimeout(resume)); // the reader's clicks come first
    }
    document.documentElement.classList.add("ready");
  }

  function cellTable(box) {
    const { digits, rows, command } = read(box.querySelector("script"));
    const table = box.querySelector("table"), body = table.tBodies[0];
    const [search, count, before, after, shown] = ["input", ".count", ".before", ".after", ".command"].map((s) => box.querySelector(s));
    const page = Number(box.dataset.page);
    const told = rows.map((row) => row.join(" ").toLowerCase());
    const order = rows.map((_, place) => place);
    let found = order, start = 0, sorted = null, falling = false;

    const written = (value, column) =>
      value === null ? "–" : typeof value === "string" ? value
        : digits[column] === null ? String(Number(value.toPrecision(6))) : value.toFixed(digits[column]);

    function line(place) {
      const row = document.createElement("tr");
      rows[place].forEach((value, column) => {
        const cell = document.createElement(column ? "td" : "th");
        cell.textContent = written(value, column);
        if (typeof value === "string" && column) cell.className = "text";
        row.append(cell);
      });
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "command";
      button.addEventListener("click", () => copy(command + rows[place].at(-1), button));
      row.append(Object.assign(document.createElement("td"), { className: "text" }));
      row.lastChild.append(button);
      return row;
    }

    function copy(text, button) {
      shown.textContent = text;
      shown.hidden = false;
      navigator.clipboard?.writeText(text).then(() => {
        button.textContent = "copied";
        setTimeout(() => { button.textContent = "command"; }, 1500);
      }).catch(() => {}); // it can be copied by hand
    }

    function show() {
      const part = found.slice(start, start + page);
      body.replaceChildren(...part.map(line));
      const range = part.length ? `${start + 1} to ${start + part.length} of ` : "";
      count.textContent = `${range}${found.length}${found.length < rows.length ? ` found, ${rows.length} in all` : ""}`;
      before.disabled = start === 0;
      after.disabled = start + page >= found.length;
    }

    function compare(a, b) {
      const x = rows[a][sorted], y = rows[b][sorted];
      if (x === null || y === null) return (x === null) - (y === null) || a - b; // what is unknown comes last
      const sign = typeof x === "number" ? x - y : x < y ? -1 : x > y ? 1 : 0;
      return (falling ? -sign : sign) || a - b;
    }

    function find() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      found = order.filter((place) => words.every((word) => told[place].includes(word)));
      if (sorted !== null) found = [...found].sort(compare);
      start = 0;
      show();
    }

    table.querySelectorAll("thead th[data-column]").forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const column = Number(head.dataset.column);
        falling = sorted === column && !falling;
        sorted = column;
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        find();
      });
    });
    search.addEventListener("input", find);
    before.addEventListener("click", () => { start -= page; show(); });
    after.addEventListener("click", () => { start += page; show(); });
    box.querySelector(".tools").hidden = false;
    show();
  }

  document.querySelectorAll(".cells").forEach(cellTable);
  drawAll();
})();
