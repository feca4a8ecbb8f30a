"use strict";
// The page is complete without this: it adds sorting, the sliders, the choice of losses, and opens what links point to.
document.documentElement.classList.add("scripted");

// Tables: a click on a heading sorts by it, another one reverses. Cells without a number, such as —, stay last.
const numberIn = (text) => {
  const found = /^[^\d\w]*?([+\-−]?\d[\d,]*\.?\d*)/.exec(text.trim());
  return found && !/^[A-Za-z]/.test(text.trim()) ? parseFloat(found[1].replaceAll(",", "").replace("−", "-")) : NaN;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const order = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (heading.classList.contains("share")) return; // bars of the column before
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    const numeric = heading.classList.contains("n");
    button.addEventListener("click", () => {
      // numbers begin with the largest, words with a; the third click gives the original order
      const first = numeric ? "descending" : "ascending", second = numeric ? "ascending" : "descending";
      const now = heading.getAttribute("aria-sort");
      const next = now === first ? second : now === second ? null : first;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (next) heading.setAttribute("aria-sort", next);
      const sign = next === "descending" ? -1 : 1;
      const text = (row) => (row.cells[column].textContent || "").trim();
      const rows = [...order];
      if (next) {
        rows.sort((a, b) => {
          if (!numeric) return sign * text(a).localeCompare(text(b), "en", { numeric: true });
          const x = text(a) === "ref." ? 0 : numberIn(text(a)), y = text(b) === "ref." ? 0 : numberIn(text(b));
          return Number.isNaN(x) ? (Number.isNaN(y) ? 0 : 1) : Number.isNaN(y) ? -1 : sign * (x - y);
        });
      }
      body.append(...rows);
    });
  });
}

// Pictures: an invisible range over the picture moves the line, by mouse, by touch and by keys.
for (const figure of document.querySelectorAll(".pair")) {
  const stage = figure.querySelector(".stage");
  const [first, second] = [...figure.querySelectorAll(".tag")].map((tag) => tag.textContent);
  const range = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 50 });
  const name = figure.querySelector("figcaption").textContent.split(",")[0];
  range.setAttribute("aria-label", `${name}: ${first} at the left, ${second} at the right`);
  const move = () => {
    stage.style.setProperty("--cut", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % ${first}`);
  };
  range.addEventListener("input", move);
  stage.append(range);
  move();
}

// Losses: which loss, and which runs.
for (const section of document.querySelectorAll(".losses")) {
  const panels = [...section.querySelectorAll(".panel")];
  const pick = document.createElement("div");
  pick.className = "pick";
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.append(new Option("all", ""), ...panels.map((panel) => new Option(panel.dataset.term)));
  label.append("Loss ", select);
  select.addEventListener("change", () => {
    for (const panel of panels) panel.classList.toggle("off", select.value !== "" && panel.dataset.term !== select.value);
    section.querySelector(".panels").classList.toggle("one", select.value !== "");
  });
  const boxes = [...section.querySelectorAll(".legend li")].map((item) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    const wrap = document.createElement("label");
    wrap.append(box, ...item.childNodes);
    item.append(wrap);
    box.addEventListener("change", () => {
      for (const line of section.querySelectorAll("polyline")) {
        if (line.dataset.run === item.dataset.run) line.classList.toggle("off", !box.checked);
      }
    });
    return box;
  });
  const choose = (wanted) => {
    for (const box of boxes) {
      box.checked = wanted(box.closest("li").dataset.run);
      box.dispatchEvent(new Event("change"));
    }
  };
  const all = (checked) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.textContent = checked ? "All runs" : "No run";
    button.addEventListener("click", () => choose(() => checked));
    return button;
  };
  const search = Object.assign(document.createElement("input"), { type: "search", size: 12 });
  search.addEventListener("input", () => choose((run) => run.includes(search.value.trim())));
  const among = document.createElement("label");
  among.append("Runs with ", search);
  pick.append(label, among, all(true), all(false));
  section.querySelector("h3").after(pick);
}

// Links to folded parts open them; printing opens everything but the runs.
const reveal = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link && link.getAttribute("href") === location.hash) reveal();
});
reveal();
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open], .run)")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of opened) part.open = false;
});
