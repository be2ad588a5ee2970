"use strict";
for (const compare of document.querySelectorAll("[data-compare]")) {
  const slider = compare.querySelector("input");
  const show = () => compare.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", show);
  show(); // a browser may remember where the slider was
}
const form = document.getElementById("filter");
if (form) {
  const status = document.getElementById("status");
  const prompt = document.getElementById("prompt");
  const articles = [...document.querySelectorAll("article")];
  const choose = () => {
    let count = 0;
    for (const article of articles) {
      const { status: own, prompts } = article.dataset;
      const wanted = (!status.value || own === status.value) && (!prompt.value || prompts.split(" ").includes(prompt.value));
      article.hidden = !wanted;
      count += wanted;
    }
    document.getElementById("count").textContent = `${count} of ${articles.length}`;
  };
  form.addEventListener("change", choose);
  form.addEventListener("submit", (event) => event.preventDefault());
  choose();
}
