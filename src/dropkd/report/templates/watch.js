"use strict";
// Asks the server what is new and puts it in its place. Without this script the page stands as it was written.

const EVERY = 1000;
const SLOWLY = 10000;
const contact = document.getElementById("contact");
const news = document.getElementById("news");
const shown = {};
let tag = "";

const REACHED = "a[href], [tabindex]";

function isUsed(place) {
  // What is being read by keyboard, or has text selected in it, is not taken away.
  const selection = document.getSelection();
  const isSelected = !selection.isCollapsed && place.contains(selection.anchorNode);
  return isSelected || place.querySelector(":focus-visible") !== null;
}

function put(id, html) {
  const place = document.getElementById(`part-${id}`);
  if (place === null || shown[id] === html || isUsed(place)) return;
  const focused = [...place.querySelectorAll(REACHED)].indexOf(document.activeElement);
  const scrolled = [...place.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
  // The server has escaped every name and text in it, and the page's policy runs no script but this one.
  place.innerHTML = html;
  place.querySelectorAll(".scroll").forEach((part, k) => { part.scrollLeft = scrolled[k] ?? 0; });
  if (focused >= 0) place.querySelectorAll(REACHED)[focused]?.focus({ preventScroll: true, focusVisible: false });
  shown[id] = html;
}

async function look() {
  let pause = document.hidden ? SLOWLY : EVERY;
  try {
    const answer = await fetch("parts", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (answer.status === 200) {
      const told = await answer.json();
      for (const [id, html] of Object.entries(told.parts)) put(id, html);
      document.title = told.title;
      if (news.textContent !== told.news) news.textContent = told.news;
      tag = Object.entries(told.parts).every(([id, html]) => shown[id] === html) ? answer.headers.get("ETag") : "";
      if (told.ended && !document.hidden) pause = 3 * EVERY;
    } else if (answer.status !== 304) {
      throw new Error(answer.statusText);
    }
    contact.hidden = true;
  } catch {
    contact.textContent = "dropkd watch does not answer, so this page stands still. It goes on when it is started again.";
    contact.hidden = false;
  }
  setTimeout(look, pause);
}

look();
