// The answers that changed: search, filters, order, and rows that open. Texts of others are only ever set as textContent.
"use strict";
(() => {
  const ROWS = 25; // at a time
  const PAUSE = 120; // milliseconds between the last key and the search
  const EXCERPT = 140; // characters of an output in a closed row
  const find = (id) => document.getElementById(id);

  const copy = find("copy");
  if (navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(find("command").textContent);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(find("command")); // not permitted: ready to be copied by hand
      }
    });
  }

  const source = find("changed-data");
  if (!source) return;
  const { blocks, rows } = JSON.parse(source.textContent);
  const table = document.querySelector(".answers");
  const body = table.tBodies[0];
  const [search, byTask, byCheck, byChange] = ["search", "by-task", "by-check", "by-change"].map(find);
  const collator = new Intl.Collator("en", { numeric: true });
  const state = { key: "change", descending: false, most: ROWS, open: new Set() };

  const element = (tag, properties = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  };
  const textOf = (pieces) => pieces.map(([text]) => text).join("");
  const promptOf = (row) => row.prompt.map((block) => blocks[block]).join("");
  const squeezed = (text) => text.replace(/\s+/g, " ").trim().toLowerCase();
  const marked = (pieces) => pieces.map(([text, isMarked]) => (isMarked ? element("mark", { textContent: text }) : text));
  const orNothing = (pieces) => (textOf(pieces).trim() ? marked(pieces) : [element("span", { className: "nothing", textContent: "(empty)" })]);

  // What a row shows of an output: from shortly before the first difference.
  const excerpt = (pieces) => {
    const first = pieces.findIndex(([, isMarked]) => isMarked);
    const before = first < 0 ? 0 : textOf(pieces.slice(0, first)).length;
    let skip = textOf(pieces).length > EXCERPT ? Math.max(0, before - 30) : 0;
    let left = EXCERPT;
    const shown = skip ? [["… ", false]] : [];
    for (const [text, isMarked] of pieces) {
      const part = text.slice(skip, skip + left);
      skip = Math.max(0, skip - text.length);
      left -= part.length;
      if (part) shown.push([part, isMarked]);
    }
    if (textOf(shown).length < textOf(pieces).length && !left) shown.push([" …", false]);
    return orNothing(shown);
  };

  // What is true of a row under the filter by check: its change is then that check's own.
  const checks = [];
  for (const row of rows) {
    for (const [name] of row.scores) {
      if (!checks.some((check) => check.task === row.task && check.name === name)) checks.push({ task: row.task, name });
    }
  }
  const changeOf = (row, check) => {
    if (!check) return row.change;
    if (row.task !== check.task) return null;
    const score = row.scores.find(([name]) => name === check.name);
    return score && score[3] !== "same" ? score[3] : null;
  };
  const haystack = (row) => {
    row.text ??= squeezed([promptOf(row), row.gold, textOf(row.original), textOf(row.pruned)].join(" "));
    return row.text;
  };
  // Where a row holds what is searched for: a few words around it, for it may stand in the prompt, which is closed.
  const hitOf = (row, wanted) => {
    const text = haystack(row);
    const at = text.indexOf(wanted);
    const [begin, end] = [Math.max(0, at - 25), at + wanted.length + 25];
    const [before, after] = [text.slice(begin, at), text.slice(at + wanted.length, end)];
    const hit = element("strong", { textContent: text.slice(at, at + wanted.length) });
    return element("div", { className: "note hit" }, begin ? "… " : "", before, hit, after, end < text.length ? " …" : "");
  };
  const keys = {
    document: (row) => `${row.task} ${row.member ?? ""} ${row.id}`,
    gold: (row) => row.gold,
    original: (row) => textOf(row.original),
    pruned: (row) => textOf(row.pruned),
  };
  const ordered = () => {
    const key = keys[state.key];
    const found = key ? [...rows].sort((a, b) => collator.compare(key(a), key(b))) : [...rows]; // as they come: lost first
    return state.descending ? found.reverse() : found;
  };
  const chosen = (wanted) => {
    const check = checks[byCheck.value];
    return ordered().filter((row) => {
      const change = changeOf(row, check);
      return (
        change && (!byChange.value || byChange.value === change) && (!byTask.value || byTask.value === row.task) &&
        (!wanted || haystack(row).includes(wanted))
      );
    });
  };

  const titled = (title, ...children) => element("div", {}, element("h3", { textContent: title }), ...children);
  const detailOf = (row) => {
    const scores = row.scores.map(([name, before, after, change]) => `${name} ${before} → ${after}${change === "same" ? "" : ` (${change})`}`);
    const gold = row.gold ? [titled("Gold answer", element("pre", { textContent: row.gold }))] : [];
    const noted = (note) => (note ? [element("p", { className: "note", textContent: note })] : []);
    const side = (title, pieces, note) => titled(title, element("pre", { tabIndex: 0 }, ...orNothing(pieces)), ...noted(note));
    const cell = element(
      "td", { colSpan: 5 },
      titled("Prompt", element("pre", { tabIndex: 0, textContent: promptOf(row), className: "prompt" })), ...gold,
      element("div", { className: "sides" }, side("Original's output", row.original, row.notes[0]), side("Pruned's output", row.pruned, row.notes[1])),
      element("p", { className: "note", textContent: scores.join("; ") }),
    );
    return element("tr", { className: "detail", id: `answer-${rows.indexOf(row)}` }, cell);
  };
  const open = (line, row) => {
    const detail = detailOf(row);
    line.after(detail);
    const prompt = detail.querySelector(".prompt");
    prompt.scrollTop = prompt.scrollHeight; // the question stands at its end, behind the examples
  };
  const toggle = (line, row) => {
    const isOpen = !state.open.delete(row);
    line.querySelector("button").setAttribute("aria-expanded", isOpen);
    if (isOpen) {
      state.open.add(row);
      open(line, row);
    } else line.nextElementSibling.remove();
  };
  const lineOf = (row, wanted) => {
    const name = row.member ? `${row.task}, ${row.member}` : row.task;
    const button = element("button", { type: "button", "aria-expanded": state.open.has(row), "aria-controls": `answer-${rows.indexOf(row)}` });
    button.textContent = `${name} ${row.id}`;
    const cell = (label, ...children) => element("td", { "data-label": label }, element("div", {}, ...children));
    const line = element(
      "tr", {}, element("th", { scope: "row" }, button, ...(wanted ? [hitOf(row, wanted)] : [])),
      cell("Change", element("span", { className: `change ${row.change}`, textContent: row.change }), ` ${row.size}`),
      cell("Gold answer", ...excerpt([[row.gold, false]])),
      cell("Original's output", ...excerpt(row.original)), cell("Pruned's output", ...excerpt(row.pruned)),
    );
    line.addEventListener("click", (event) => {
      if (event.target === button || getSelection().isCollapsed) toggle(line, row);
    });
    return line;
  };

  const show = () => {
    const wanted = squeezed(search.value);
    const found = chosen(wanted);
    body.replaceChildren();
    for (const row of found.slice(0, state.most)) {
      const line = lineOf(row, wanted);
      body.append(line);
      if (state.open.has(row)) open(line, row);
    }
    const isNarrowed = Boolean(wanted || byTask.value || byCheck.value || byChange.value);
    const count = isNarrowed ? `${found.length} of ${rows.length} answers match` : `${rows.length} answers`;
    const listed = found.length > state.most ? `; the first ${state.most} are listed` : "";
    find("hits").textContent = `${count}${listed}.`;
    find("clear").hidden = !isNarrowed;
    find("more").hidden = found.length <= state.most;
    find("more").textContent = `Show ${Math.min(found.length - state.most, 4 * ROWS)} more`;
  };
  const restart = () => {
    state.most = ROWS;
    show();
  };

  const option = (value, text) => element("option", { value, textContent: text });
  const tasks = [...new Set(rows.map((row) => row.task))];
  byTask.append(...tasks.map((task) => option(task, task)));
  byCheck.append(...checks.map(({ task, name }, at) => option(at, tasks.length > 1 ? `${task} ${name}` : name)));
  byTask.parentElement.hidden = tasks.length < 2;
  byCheck.parentElement.hidden = checks.length < 2;

  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(restart, PAUSE);
  });
  for (const select of [byTask, byCheck, byChange]) select.addEventListener("change", restart);
  find("clear").addEventListener("click", () => {
    for (const control of [search, byTask, byCheck, byChange]) control.value = "";
    restart();
    search.focus();
  });
  find("more").addEventListener("click", () => {
    const next = state.most;
    state.most += 4 * ROWS;
    show();
    body.querySelectorAll("tr:not(.detail) button")[next]?.focus();
  });
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const { key } = button.dataset;
      state.descending = state.key === key && !state.descending;
      state.key = key;
      for (const header of table.tHead.querySelectorAll("th")) header.setAttribute("aria-sort", "none");
      button.closest("th").setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      restart();
    });
  }
  // A count of lost or gained in the table of checks leads to those answers.
  for (const link of document.querySelectorAll("#checks a[data-change]")) {
    link.addEventListener("click", () => {
      const [task, name] = [".task", ".metric"].map((part) => link.closest("tr").querySelector(part).textContent);
      search.value = byTask.value = "";
      byCheck.value = String(checks.findIndex((check) => check.task === task && check.name === name));
      byChange.value = link.dataset.change;
      restart();
    });
  }
  find("answers").hidden = false;
  show();
})();
