"use strict";
// A search's page while it runs: parts are fetched again when a server-sent event says that something changed.
(() => {
  const root = document.getElementById("search");
  const base = `/searches/${root.dataset.id}`;
  const byId = (id) => document.getElementById(id);

  /** The figure with every `var(--name)` replaced by the style sheet's value, since Plotly cannot resolve them. */
  const themed = (figure) => {
    const style = getComputedStyle(document.documentElement);
    const color = (_, name) => JSON.stringify(style.getPropertyValue(name).trim());
    return JSON.parse(JSON.stringify(figure).replace(/"var\((--[\w-]+)\)"/g, color));
  };

  let again = 0;
  const draw = async () => {
    const answer = await fetch(`${base}/charts`);
    if (!answer.ok) return;
    const newest = answer.headers.get("X-Drawn") === "newest";
    clearTimeout(again);
    if (!newest) again = setTimeout(redraw, 700);  // the service draws it meanwhile
    const figures = await answer.json();
    if (!figures.latency) return;
    for (const [name, figure] of Object.entries(figures)) {
      const { data, layout } = themed(figure);
      await Plotly.react(byId(`chart-${name}`), data, layout, { displayModeBar: false, responsive: true });
    }
    root.dataset.drawn = newest ? "newest" : "older";
  };

  const redraw = async () => {
    await draw();  // first: what it says is drawn, the part has, too
    if (!byId("front").contains(document.activeElement)) await refresh("front");
    await pick();
  };

  const refresh = async (name) => {
    const answer = await fetch(`${base}/part/${name}`);
    // Made by the service with every text escaped; the policy of the page runs no script in it.
    if (answer.ok) byId(name).innerHTML = await answer.text();
  };

  const limits = () => {
    const query = new URLSearchParams();
    for (const slider of document.querySelectorAll("#limits input[type=range]")) {
      const { name, unit } = slider.dataset, least = Number(slider.dataset.least), most = Number(slider.dataset.most);
      const share = Number(slider.value) / 100, any = slider.value === "100";
      // costs differ by factors, drops by points
      const exact = least > 0 ? least * (most / least) ** share : least + share * (most - least);
      const text = String(Number(exact.toPrecision(3)) + (share === 0 ? 0.01 * least : 0));
      slider.parentElement.querySelector("output").textContent = any ? "any" : `${Number(Number(text).toPrecision(3))} ${unit === "us" ? "µs" : unit}`;
      if (!any) query.set(name, `${text}${unit}`);
    }
    return query;
  };

  let asked = 0, waiting = 0;
  const pick = async () => {
    if (!byId("limits")) return;
    const mine = ++asked, query = limits();
    const answer = await fetch(`${base}/picked?${query}`);
    if (answer.ok && mine === asked && byId("picked")) byId("picked").innerHTML = await answer.text();
  };
  root.addEventListener("input", (event) => {
    if (event.target.type !== "range") return;
    limits();
    clearTimeout(waiting);
    waiting = setTimeout(pick, 60);
  });

  let front = "";
  const changed = async (state) => {
    // what somebody types stays
    if (!byId("progress").contains(document.activeElement)) await refresh("progress");
    const now = JSON.stringify(state.progress.front || []);
    if (now === front) return;
    front = now;
    await redraw();
  };

  const follow = () => {
    const events = new EventSource(`/v1/searches/${root.dataset.id}/events`);
    let first = true;
    events.addEventListener("open", () => { byId("offline").hidden = true; });
    events.addEventListener("error", () => { byId("offline").hidden = false; });
    events.addEventListener("log", (event) => {
      if (first) { byId("lines").replaceChildren(); first = false; }
      const line = document.createElement("li");
      line.textContent = JSON.parse(event.data).text;
      byId("lines").append(line);
      const log = byId("lines").parentElement;
      log.scrollTop = log.scrollHeight;
    });
    events.addEventListener("state", (event) => changed(JSON.parse(event.data)));
    events.addEventListener("end", () => { events.close(); refresh("progress"); });
  };

  redraw();
  if (!root.dataset.over) follow();
})();
