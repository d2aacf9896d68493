"use strict";
// The form of a new search: the files that its task takes, and how much of them has arrived. Without this script
// all fields for files are there, and the browser sends the form.
(() => {
  const form = document.getElementById("new");
  if (!form) return;
  const wrong = form.querySelector("[role=alert]"), bar = form.querySelector("progress");
  const button = form.querySelector("button"), largest = Number(form.dataset.largest);

  const choose = () => {
    for (const label of form.querySelectorAll("[data-task]")) {
      label.hidden = label.dataset.task !== form.elements.task.value;
      label.querySelector("input").disabled = label.hidden;
    }
  };
  form.elements.task.addEventListener("change", choose);
  addEventListener("pageshow", choose);  // a browser that goes back restores what was chosen
  choose();

  const say = (text) => {
    wrong.textContent = text;
    wrong.hidden = !text;
    bar.hidden = true;
    button.disabled = false;
  };

  const answered = (request) => {
    if (request.status === 200) return location.assign(request.responseURL);
    if (request.status === 401) return location.assign("/login");
    try {
      say(JSON.parse(request.responseText).detail);
    } catch {
      say(`The service answers ${request.status}.`);
    }
  };

  form.addEventListener("submit", (event) => {
    const files = [...form.querySelectorAll("input[type=file]:enabled")].flatMap((input) => [...input.files]);
    if (!files.length) return;
    event.preventDefault();
    if (files.some((file) => file.size > largest)) return say("The file is larger than the service takes.");
    say("");
    const request = new XMLHttpRequest();
    request.upload.addEventListener("progress", (sent) => { bar.value = sent.loaded / sent.total; });
    request.addEventListener("load", () => answered(request));
    request.addEventListener("error", () => say("The connection broke: submit it again."));
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.send(new FormData(form));
    bar.value = 0;
    bar.hidden = false;
    button.disabled = true;
  });
})();
